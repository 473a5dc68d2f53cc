"""Every named recipe on the same study and folds: accuracy, macro-F1, processor minutes, beside the ceiling and the majority-class baseline.

python benchmarks/recipes.py --work FOLDER [--recipes NAME ...] [--only-folds N ...] [--table]

The study is generated: 965 phantoms (synthetic pictures of known angle), 640 neutral, 230 pronation, 95 supination, up to four of a person. Every
picture is tested once, by a model that has seen nobody of its group (`study.splits.cross_splits`). FOLDER keeps the study and each fold's
answers, so a run that was stopped goes on. Recipes whose folds are all there go into `anklealign/results/recipes.csv`, every picture's answers, and
`recipes.folds.csv`, processor seconds of each fold, in the place of what stood there; the table is made of these two files, so that recipes need
not be trained again with every new one. A recipe that is gone keeps its answers there, under the name it had. `--table` trains nothing;
`--only-folds` only trains, so that two processes can share the work.

What a recipe sees of a picture is read once a process: the first fold of `measured` has that time too. ResNet-18 is left out: its ImageNet weights
cannot be downloaded where this was run.
"""
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, gain, interval, keep, machine, options

from anklealign.core import CLASSES, Settings
from anklealign.data import prepare
from anklealign.decision import aggregate, class_of_angle
from anklealign.evaluation.metrics import difference, score
from anklealign.phantom.picture import make_phantoms
from anklealign.phantom.study import write_study
from anklealign.study.manifest import read_manifest
from anklealign.study.splits import cross_splits
from anklealign.training.recipes import recipes
from anklealign.training.runs import load_run, probabilities
from anklealign.training.train import train

COUNTS = {'pronation': 230, 'neutral': 640, 'supination': 95}
OURS, FOLDS = 'measured', 5
DRAWN, SEED = 1060, 11 # phantoms that are made, of which the wanted number of each class is drawn
PROBABILITIES = [f'prob_{c}' for c in CLASSES] # of ours


def contenders(): return {k: v for k, v in recipes.items() if k != 'resnet18'}


def drawn_study(place, n, seed, *size):
    "A prepared study of phantoms, made once."
    if not (place/'output/processed').exists():
        raw = write_study(place/'raw', make_phantoms(n, seed, *size), seed, 'owners', defects=())
        prepare(raw, place/'output', Settings(output=str(place/'output'), images=dict(size=384)))
    return place/'output/processed'


def made(work):
    "The study, and the rows that are used."
    rows = read_manifest(study := drawn_study(work, DRAWN, SEED, 384))
    chosen = pd.concat([rows[rows.label == c].sample(n, random_state=SEED) for c, n in COUNTS.items()]).sort_index()
    return study, chosen.reset_index(drop=True)


def run_fold(study, rows, recipe, place):
    "Train on one fold and keep its answers and history. The time is that of the processor, all threads added up: what else it does in between does not count."
    start = time.process_time()
    run = train(study, place/'run', recipe, SEED, rows=rows)
    seconds, tested = time.process_time() - start, rows[rows.split == 'test'].reset_index(drop=True)
    answers = probabilities(load_run(run)[0], study, tested, recipe)
    table = tested[['image', 'group', 'label_id', 'angle_deg']].assign(predicted=answers.argmax(1), seconds=seconds, epochs=len(pd.read_csv(run/'history.csv')))
    table.assign(**{f'prob_{c}': answers[:, i].round(4) for i, c in enumerate(CLASSES)}).to_csv(place/'answers.csv', index=False)


def compute(work, wanted, only):
    study, rows = made(work)
    for name, recipe in contenders().items():
        if wanted and name not in wanted: continue
        for fold, part in enumerate(cross_splits(rows, FOLDS, seed=SEED)):
            place = work/'folds'/name/str(fold)
            if (only and fold not in only) or (place/'answers.csv').exists(): continue
            place.mkdir(parents=True, exist_ok=True)
            run_fold(study, part, recipe, place)
            print(name, fold, time.strftime('%H:%M'), flush=True)


def collected(work):
    "Answers of every recipe all of whose folds are there."
    found = {}
    for name in contenders():
        files = sorted((work/'folds'/name).glob('*/answers.csv'))
        if files: found[name] = pd.concat([pd.read_csv(f).assign(fold=int(f.parent.name)) for f in files]).sort_values('image').reset_index(drop=True)
    return {k: v for k, v in found.items() if len(v) == sum(COUNTS.values())}


def store(work):
    "Put the answers and times of `collected` recipes into the stored tables."
    found, answers, folds = collected(work), RESULTS/'recipes.csv', RESULTS/'recipes.folds.csv'
    if not found: return
    first = next(iter(found.values()))
    table = pd.read_csv(answers) if answers.exists() else first[['image', 'group', 'label_id', 'angle_deg']]
    if not (table[['image', 'label_id']] == first[['image', 'label_id']]).all(axis=None): raise SystemExit(f'{answers.name} is of another study: remove it.')
    table = table.assign(fold=first.fold, **{k: o.predicted for k, o in found.items()})
    if OURS in found: table[PROBABILITIES] = found[OURS][PROBABILITIES]
    table.to_csv(answers, index=False)
    rows = [pd.read_csv(folds)] if folds.exists() else []
    rows = [o[~o.recipe.isin(found)] for o in rows] + [o.groupby('fold').seconds.max().round(1).reset_index().assign(recipe=k) for k, o in found.items()]
    pd.concat(rows)[['recipe', 'fold', 'seconds']].to_csv(folds, index=False)


def line(name, table, predicted, reached, folds=None):
    scores, minutes = score(table.label_id, predicted, table.group, 1), '-'
    if folds is not None: minutes = f'{folds.mean()/60:.1f} ({folds.min()/60:.1f}-{folds.max()/60:.1f})'
    macro = scores.loc['macro_f1']
    return f"{name:24}{interval(scores.loc['accuracy']):>22}{interval(macro):>22}{scores.loc['f1_supination'].value:>9.3f}{minutes:>18}{macro.value/reached:>9.0%}"


def report():
    table, folds = (pd.read_csv(RESULTS/f'recipes{o}.csv') for o in ('', '.folds'))
    names = [o for o in table if o in set(folds.recipe)]
    label, group, ceiling = table.label_id, table.group, class_of_angle(table.angle_deg)
    reached = score(label, ceiling, group, 1).loc['macro_f1'].value
    counts = ', '.join(f'{n} {c}' for c, n in COUNTS.items())
    lines = [f'{len(table)} synthetic pictures (phantoms; {counts}) of {group.nunique()} people, each tested once in {table.fold.nunique()} grouped folds;',
             '95 % intervals over people; processor minutes of a fold, all threads added up (lowest-highest);',
             f'{machine()}', '',
             f'{"":24}{"accuracy":>22}{"macro-F1":>22}{"F1 sup.":>9}{"CPU minutes":>18}{"reached":>9}',
             line('exact angle (ceiling)', table, ceiling, reached), line('always neutral', table, np.ones(len(table), int), reached)]
    lines += [line(name, table, table[name], reached, folds[folds.recipe == name].seconds) for name in names]
    of_person = aggregate(table[PROBABILITIES], group).argmax(1)
    each = difference(label, of_person, table[OURS], group).loc['macro_f1']
    lines += ['', f'the same answers of {OURS}, but all pictures of a person ({len(table)/group.nunique():.1f} on average) answered together:',
              line(f'{OURS}, together', table, of_person, reached, folds[folds.recipe == OURS].seconds),
              f'  instead of one by one: macro-F1 {gain(each)}',
              '', f'{OURS} one by one against the others, on the same pictures:']
    for name in names:
        if name == OURS: continue
        lines.append(f"  {name:22} macro-F1 {gain(difference(label, table[OURS], table[name], group).loc['macro_f1'])}")
    keep('recipes', lines)


if __name__ == '__main__':
    args = options(__doc__, work=Path, recipes=dict(nargs='*'), only_folds=dict(type=int, nargs='*'), table=False)
    if not args.table: compute(args.work, args.recipes, args.only_folds)
    if not args.only_folds:
        store(args.work)
        report()
