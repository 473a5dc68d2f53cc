"""Does bfloat16 cost accuracy? The same recipe in float32 and bfloat16, three seeds each, on the same grouped folds.

python benchmarks/precision.py --work FOLDER [--seeds 1 2 3] [--table]

The study is that of `recipes.py`: 965 phantoms (synthetic pictures). The recipe is ours on smaller pictures (96 pixels, 8 epochs), so that thirty
trainings take minutes and not hours. Every picture is tested once a seed, by a model that has seen nobody of its group. FOLDER keeps the answers.
"""
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from common import gain, keep, machine, options
from recipes import made

from anklealign.evaluation.metrics import Bootstrap, difference, score
from anklealign.training.recipes import recipes
from anklealign.training.train import cross_validate

FORMATS = ('float32', 'bfloat16')


def compute(work, seeds):
    study, rows = made(work)
    recipe = replace(recipes['heels_imagenet'], size=96, load=128, epochs=8, steps=0)
    for seed in seeds:
        for precision in FORMATS:
            file = work/'precision'/f'{precision}-{seed}.csv'
            if file.exists(): continue
            file.parent.mkdir(exist_ok=True)
            start = time.process_time()
            answers = cross_validate(study, recipe, rows, 5, seed, precision)
            answers[['image', 'group', 'label_id', 'predicted']].assign(cpu=time.process_time() - start).to_csv(file, index=False)
            print(precision, seed, time.strftime('%H:%M'), flush=True)


def report(work):
    files = sorted((work/'precision').glob('float32-*.csv'))
    pairs = [[pd.read_csv(o.with_name(o.name.replace('float32', p))).sort_values('image') for p in FORMATS] for o in files]
    n, people = len(pairs[0][0]), pairs[0][0].group.nunique()
    lines = [f'{n} synthetic pictures (phantoms) of {people} people, each tested once a seed in five grouped folds; difference bfloat16 - float32 paired,',
             f'95 % interval over people; {machine()}', '',
             f'{"seed":>4}{"float32":>18}{"bfloat16":>18}{"difference in accuracy":>28}{"in macro-F1":>28}{"CPU s":>12}', f'{"":4}{"accuracy macro-F1":>18}{"accuracy macro-F1":>18}']
    gaps = []
    for file, (a, b) in zip(files, pairs, strict=True):
        one, two = (score(o.label_id, o.predicted, o.group, 1, how=Bootstrap(rounds=100)).value for o in (a, b))
        d = difference(a.label_id, b.predicted, a.predicted, a.group)
        gaps.append(d.value[['accuracy', 'macro_f1']].to_numpy())
        both = ''.join(f'{o["accuracy"]:9.3f}{o["macro_f1"]:9.3f}' for o in (one, two))
        lines.append(f'{file.stem[-1]:>4}{both}{gain(d.loc["accuracy"]):>28}{gain(d.loc["macro_f1"]):>28}{f"{a.cpu.iloc[0]:.0f}, {b.cpu.iloc[0]:.0f}":>12}')
    spread = [np.std([score(o[i].label_id, o[i].predicted, o[i].group, 1, how=Bootstrap(rounds=100)).value['accuracy'] for o in pairs], ddof=1) for i in (0, 1)]
    lines.append(f'mean difference: accuracy {np.mean(gaps, 0)[0]:+.3f}, macro-F1 {np.mean(gaps, 0)[1]:+.3f}; between seeds the accuracy has a standard deviation of {spread[0]:.3f} in float32 and {spread[1]:.3f} in bfloat16')
    keep('precision', lines)


if __name__ == '__main__':
    args = options(__doc__, work=Path, seeds=[1, 2, 3], table=False)
    if not args.table: compute(args.work, args.seeds)
    report(args.work)
