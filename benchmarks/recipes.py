"""Every named recipe on the same study and folds: accuracy, macro-F1, processor minutes; what can be reached, and always-majority, beside them.

python benchmarks/recipes.py --work FOLDER [--recipes NAME ...] [--folds 5] [--table]

The study is generated: 965 phantoms (synthetic pictures of known angle), 640 neutral, 230 pronation, 95 supination, four of a person. Every
picture is tested once, by a model that has seen nobody of its group (`split.cross_splits`). FOLDER keeps the study and each fold's answers, so a
run that was stopped goes on; `--table` only writes the table from what is there, and `anklealign/results/recipes.csv` with every picture's answers.

ResNet-18's ImageNet weights cannot be downloaded where this was run. Its recipe stands here twice: from random weights, and with its model
exchanged for EfficientNet-Lite0, whose ImageNet weights come in a package. Ours stands here also with the one change that looked better in
`ablation.py`.
"""
import argparse
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from anklealign.abstention import pooled
from anklealign.annotators import class_of_angle
from anklealign.core import CLASSES, Settings
from anklealign.data import prepare
from anklealign.manifest import read_manifest
from anklealign.metrics import difference, score
from anklealign.phantom import make_phantoms
from anklealign.rawstudy import write_study
from anklealign.recipe import augmentations, recipes
from anklealign.runs import load_run, probabilities
from anklealign.split import cross_splits
from anklealign.training import train

COUNTS = {'pronation': 230, 'neutral': 640, 'supination': 95}
OURS = 'heels'
DRAWN, SEED = 1060, 11 # phantoms that are made, of which the wanted number of each class is drawn
RESULTS = Path(__file__).parents[1]/'anklealign'/'results'


def contenders():
    recipes['baseline'], recipes['gapcnn'], recipes[OURS] # each chapter registers its own when asked
    augmentations['no crops'] = replace(augmentations['heels'], area=(1., 1.))
    other = {'resnet18, random weights': replace(recipes['resnet18'], weights='none'), 'resnet18, on Lite0': replace(recipes['resnet18'], model='lite0'),
             'heels, no crops, averaged': replace(recipes[OURS], augmentation='no crops', average=.98)}
    return {k: v for k, v in recipes.items() if k != 'resnet18'} | other


def made(work):
    "The study, and the rows that are used."
    if not (work/'output/processed').exists():
        raw = write_study(work/'raw', make_phantoms(DRAWN, SEED), SEED, 'owners', realities=())
        prepare(raw, work/'output', Settings(output=str(work/'output')))
    rows = read_manifest(work/'output/processed')
    chosen = pd.concat([rows[rows.label == c].sample(n, random_state=SEED) for c, n in COUNTS.items()]).sort_index()
    return work/'output/processed', chosen.reset_index(drop=True)


def run_fold(study, rows, recipe, place):
    "Train on one fold and keep its answers and history. The time is that of the processor, all threads added up: what else it does in between does not count."
    start = time.process_time()
    run = train(study, place/'run', recipe, SEED, rows=rows)
    seconds, tested = time.process_time() - start, rows[rows.split == 'test'].reset_index(drop=True)
    answers = probabilities(load_run(run)[0], study, tested, recipe)
    table = tested[['image', 'group', 'label_id', 'angle_deg']].assign(predicted=answers.argmax(1), seconds=seconds, epochs=len(pd.read_csv(run/'history.csv')))
    table.assign(**{f'prob_{c}': answers[:, i].round(4) for i, c in enumerate(CLASSES)}).to_csv(place/'answers.csv', index=False)


def compute(work, wanted, folds):
    study, rows = made(work)
    for name, recipe in contenders().items():
        if wanted and name not in wanted: continue
        for fold, part in enumerate(cross_splits(rows, folds, seed=SEED)):
            place = work/'folds'/name/str(fold)
            if (place/'answers.csv').exists(): continue
            place.mkdir(parents=True, exist_ok=True)
            run_fold(study, part, recipe, place)
            print(name, fold, time.strftime('%H:%M'), flush=True)


def collected(work):
    "Answers of every recipe all of whose folds are there."
    found = {}
    for name in contenders():
        files = sorted((work/'folds'/name).glob('*/answers.csv'))
        if files: found[name] = pd.concat([pd.read_csv(f).assign(fold=int(f.parent.name)) for f in files]).sort_values('image').reset_index(drop=True)
    n = max(map(len, found.values()))
    return {k: v for k, v in found.items() if len(v) == n}


def histories(work, name):
    "Mean validation macro-F1 of the folds after each second, as (seconds, score); a fold that has stopped keeps its best."
    curves = []
    for place in sorted((work/'folds'/name).iterdir()):
        history, answers = pd.read_csv(place/'run/history.csv'), pd.read_csv(place/'answers.csv')
        curves.append((np.arange(1, len(history) + 1)*answers.seconds[0]/len(history), history.macro_f1.cummax().to_numpy()))
    grid = np.arange(0, max(s[-1] for s, _ in curves) + 1.)
    return grid, np.mean([np.concatenate([[0], f])[np.searchsorted(s, grid, side='right')] for s, f in curves], 0)


def line(name, found, reached):
    figure = lambda row: f'{row.value:.3f} ({row.low:.3f}-{row.high:.3f})'
    table = score(found.label_id, found.predicted, found.group, 1)
    per_fold = found.groupby('fold').seconds.first()/60 if 'seconds' in found else pd.Series([0.])
    minutes = f'{per_fold.mean():.1f} ({per_fold.min():.1f}-{per_fold.max():.1f})' if 'seconds' in found else '-'
    return f"{name:28}{figure(table.loc['accuracy']):>22}{figure(table.loc['macro_f1']):>22}{table.loc['f1_supination'].value:>9.3f}{minutes:>18}{table.loc['macro_f1'].value/reached:>9.0%}"


def report(work):
    found = collected(work)
    first = next(iter(found.values()))
    oracle, majority = first.assign(predicted=class_of_angle(first.angle_deg)), first.assign(predicted=1)
    oracle, majority = (o.drop(columns=['seconds']) for o in (oracle, majority))
    reached = score(oracle.label_id, oracle.predicted, oracle.group, 1).loc['macro_f1'].value
    counts = ', '.join(f'{n} {c}' for c, n in COUNTS.items())
    lines = [f'{len(first)} synthetic pictures (phantoms; {counts}) of {first.group.nunique()} people, each tested once in {first.fold.nunique()} grouped folds;',
             '95 % intervals over people; processor minutes of a fold, all threads added up (lowest-highest);',
             f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {time.strftime("%Y-%m-%d")}', '',
             f'{"":28}{"accuracy":>22}{"macro-F1":>22}{"F1 sup.":>9}{"CPU minutes":>18}{"reached":>9}']
    lines += [line(name, o, reached) for name, o in {'exact angle (ceiling)': oracle, 'always neutral': majority, **found}.items()]
    of_person = found[OURS].assign(predicted=pooled(found[OURS][[f'prob_{c}' for c in CLASSES]], first.group).argmax(1))
    each = difference(first.label_id, of_person.predicted, found[OURS].predicted, first.group).loc['macro_f1']
    lines += ['', f'the same answers of {OURS}, but all pictures of a person ({len(first)/first.group.nunique():.1f} on average) answered together:',
              line(f'{OURS}, together', of_person, reached), f'  instead of one by one: macro-F1 {each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})',
              '', f'{OURS} one by one against the others, on the same pictures:']
    for name, other in found.items():
        if name == OURS: continue
        d = difference(first.label_id, found[OURS].predicted, other.predicted, first.group).loc['macro_f1']
        grid, curve = histories(work, OURS)
        goal, theirs = histories(work, name)[1].max(), histories(work, name)
        own = f'after {grid[np.argmax(curve >= goal)]:.0f}' if (curve >= goal).any() else 'not reached'
        lines.append(f'  {name:26} macro-F1 {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}); its best mean validation macro-F1 {goal:.3f} after {theirs[0][np.argmax(theirs[1] >= goal)]:.0f} CPU s, here {own}')
    (RESULTS/'recipes.txt').write_text('\n'.join(lines) + '\n')
    wide = first[['image', 'group', 'label_id', 'angle_deg']].assign(**{k: o.predicted for k, o in found.items()})
    wide.to_csv(RESULTS/'recipes.csv', index=False)
    print('\n'.join(lines))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--recipes', nargs='*')
    parser.add_argument('--folds', type=int, default=5)
    parser.add_argument('--table', action='store_true')
    args = parser.parse_args()
    if not args.table: compute(args.work, args.recipes, args.folds)
    report(args.work)
