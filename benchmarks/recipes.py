"""Every named recipe on the same study and folds: accuracy, macro-F1, processor minutes, beside the ceiling and the majority-class baseline.

python benchmarks/recipes.py --work FOLDER [--recipes NAME ...] [--only-folds N ...] [--table]

The study is generated: 965 phantoms (synthetic pictures of known angle), 640 neutral, 230 pronation, 95 supination, four of a person. Every
picture is tested once, by a model that has seen nobody of its group (`study.splits.cross_splits`). FOLDER keeps the study and each fold's
answers, so a run that was stopped goes on. Recipes whose folds are all there go into `anklealign/results/recipes.csv`, every picture's answers, and
`recipes.folds.csv`, validation macro-F1 and processor seconds after each epoch, in the place of what stood there; the table is made of these two
files, so that recipes need not be trained again with every new one. Of recipes whose histories were not kept, `recipes.earlier.csv` has the times
that were measured when their answers were made: minutes of a fold, and when their best mean validation macro-F1, `goal`, was there. Training such a
recipe again puts its history in the place of these. `--table` trains nothing; `--only-folds` only trains, so that two processes can
share the work.

ResNet-18's ImageNet weights cannot be downloaded where this was run. Its recipe stands here twice: from random weights, and with its model
exchanged for EfficientNet-Lite0, whose ImageNet weights come in a package. Ours from ImageNet stands here also with the one change that looked
better in `ablation.py`.
"""
import argparse
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from anklealign.core import CLASSES, Settings
from anklealign.data import prepare
from anklealign.decision import aggregate, class_of_angle
from anklealign.evaluation.metrics import difference, score
from anklealign.phantom.picture import make_phantoms
from anklealign.phantom.study import write_study
from anklealign.study.manifest import read_manifest
from anklealign.study.splits import cross_splits
from anklealign.training.recipes import augmentations, recipes
from anklealign.training.runs import load_run, probabilities
from anklealign.training.train import train

COUNTS = {'pronation': 230, 'neutral': 640, 'supination': 95}
OURS, FOLDS = 'heels', 5
DRAWN, SEED = 1060, 11 # phantoms that are made, of which the wanted number of each class is drawn
PROBABILITIES = [f'prob_{c}' for c in CLASSES] # of ours
RESULTS = Path(__file__).parents[1]/'anklealign'/'results'


def contenders():
    recipes['baseline'], recipes['gapcnn'], recipes[OURS] # each chapter registers its own when asked
    augmentations['no crops'] = replace(augmentations['heels_imagenet'], area=(1., 1.))
    other = {'resnet18, random weights': replace(recipes['resnet18'], weights='none'), 'resnet18, on Lite0': replace(recipes['resnet18'], model='lite0'),
             'heels_imagenet, no crops, averaged': replace(recipes['heels_imagenet'], augmentation='no crops', average=.98)}
    return {k: v for k, v in recipes.items() if k != 'resnet18'} | other


def made(work):
    "The study, and the rows that are used."
    if not (work/'output/processed').exists():
        raw = write_study(work/'raw', make_phantoms(DRAWN, SEED, 384), SEED, 'owners', defects=())
        prepare(raw, work/'output', Settings(output=str(work/'output'), images=dict(size=384)))
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


def keep(work):
    "Put the answers and histories of `collected` recipes into the stored tables."
    found, answers, folds = collected(work), RESULTS/'recipes.csv', RESULTS/'recipes.folds.csv'
    if not found: return
    first = next(iter(found.values()))
    table = pd.read_csv(answers) if answers.exists() else first[['image', 'group', 'label_id', 'angle_deg']]
    if not (table[['image', 'label_id']] == first[['image', 'label_id']]).all(axis=None): raise SystemExit(f'{answers.name} is of another study: remove it.')
    table = table.assign(fold=first.fold, **{k: o.predicted for k, o in found.items()})
    if OURS in found: table[PROBABILITIES] = found[OURS][PROBABILITIES]
    table.to_csv(answers, index=False)
    rows = [pd.read_csv(folds)] if folds.exists() else []
    rows = [o[~o.recipe.isin(found)] for o in rows] + [history(work, name, fold) for name in found for fold in range(FOLDS)]
    pd.concat(rows).to_csv(folds, index=False)


def history(work, name, fold):
    "Validation macro-F1 of one fold, and the processor seconds gone by, after each epoch."
    place = work/'folds'/name/str(fold)
    scores, seconds = pd.read_csv(place/'run/history.csv').macro_f1, pd.read_csv(place/'answers.csv').seconds[0]
    epoch = np.arange(1, len(scores) + 1)
    return pd.DataFrame({'recipe': name, 'fold': fold, 'epoch': epoch, 'seconds': (seconds*epoch/len(scores)).round(1), 'macro_f1': scores.round(4)})


def curve(folds, name):
    "Mean validation macro-F1 of the folds after each second, as (seconds, score); a fold that has stopped keeps its best."
    curves = [(o.seconds.to_numpy(), o.macro_f1.cummax().to_numpy()) for _, o in folds[folds.recipe == name].groupby('fold')]
    grid = np.arange(0, max(s[-1] for s, _ in curves) + 1.)
    return grid, np.mean([np.concatenate([[0], f])[np.searchsorted(s, grid, side='right')] for s, f in curves], 0)


def line(name, table, predicted, reached, folds=None, earlier=None):
    figure = lambda row: f'{row.value:.3f} ({row.low:.3f}-{row.high:.3f})'
    scores, minutes = score(table.label_id, predicted, table.group, 1), '-'
    if folds is not None and len(folds):
        per_fold = folds.groupby('fold').seconds.max()/60
        minutes = f'{per_fold.mean():.1f} ({per_fold.min():.1f}-{per_fold.max():.1f})'
    elif earlier is not None and len(earlier): minutes = '{minutes:.1f} ({fewest:.1f}-{most:.1f})*'.format(**earlier.iloc[0])
    macro = scores.loc['macro_f1']
    return f"{name:36}{figure(scores.loc['accuracy']):>22}{figure(macro):>22}{scores.loc['f1_supination'].value:>9.3f}{minutes:>18}{macro.value/reached:>9.0%}"


def sooner(folds, earlier, name):
    "When `name` is at its best on validation, and when ours has come as far."
    if (folds.recipe == name).any():
        their_grid, theirs = curve(folds, name)
        goal, seconds, mark = theirs.max(), their_grid[np.argmax(theirs >= theirs.max())], ''
    else:
        known = earlier[earlier.recipe == name].dropna()
        if known.empty: return ''
        goal, seconds, mark = known.goal.iloc[0], known.seconds.iloc[0], '*'
    grid, ours = curve(folds, OURS)
    own = f'after {grid[np.argmax(ours >= goal)]:.0f}' if (ours >= goal).any() else 'not reached'
    return f'; its best mean validation macro-F1 {goal:.3f} after {seconds:.0f} CPU s{mark}, here {own}'


def report():
    table, folds, earlier = (pd.read_csv(RESULTS/f'recipes{o}.csv') for o in ('', '.folds', '.earlier'))
    names = [o for o in contenders() if o in table]
    label, group, ceiling = table.label_id, table.group, class_of_angle(table.angle_deg)
    reached = score(label, ceiling, group, 1).loc['macro_f1'].value
    counts = ', '.join(f'{n} {c}' for c, n in COUNTS.items())
    lines = [f'{len(table)} synthetic pictures (phantoms; {counts}) of {group.nunique()} people, each tested once in {table.fold.nunique()} grouped folds;',
             '95 % intervals over people; processor minutes of a fold, all threads added up (lowest-highest);',
             '* measured when the answers of that recipe were made, in an earlier run (2026-11-23);',
             f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {time.strftime("%Y-%m-%d")}', '',
             f'{"":36}{"accuracy":>22}{"macro-F1":>22}{"F1 sup.":>9}{"CPU minutes":>18}{"reached":>9}',
             line('exact angle (ceiling)', table, ceiling, reached), line('always neutral', table, np.ones(len(table), int), reached)]
    lines += [line(name, table, table[name], reached, folds[folds.recipe == name], earlier[earlier.recipe == name]) for name in names]
    of_person = aggregate(table[PROBABILITIES], group).argmax(1)
    each = difference(label, of_person, table[OURS], group).loc['macro_f1']
    lines += ['', f'the same answers of {OURS}, but all pictures of a person ({len(table)/group.nunique():.1f} on average) answered together:',
              line(f'{OURS}, together', table, of_person, reached, folds[folds.recipe == OURS]), f'  instead of one by one: macro-F1 {each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})',
              '', f'{OURS} one by one against the others, on the same pictures:']
    for name in names:
        if name == OURS: continue
        d = difference(label, table[OURS], table[name], group).loc['macro_f1']
        lines.append(f'  {name:34} macro-F1 {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}){sooner(folds, earlier, name)}')
    (RESULTS/'recipes.txt').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--recipes', nargs='*')
    parser.add_argument('--only-folds', type=int, nargs='*')
    parser.add_argument('--table', action='store_true')
    args = parser.parse_args()
    if not args.table: compute(args.work, args.recipes, args.only_folds)
    if not args.only_folds:
        keep(args.work)
        report()
