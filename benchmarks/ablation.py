"""What each piece of `heels_imagenet` is worth: the recipe with one thing changed, trained on one generated study and tested on another.

python benchmarks/ablation.py --work FOLDER [--seeds 1 2] [--only NAME ...] [--table]

Trained on some seven eighths of the 965 phantoms (synthetic pictures) of `recipes.py`, the others being for validation, tested on 1,060 phantoms of 265 other people. Beside accuracy and macro-F1 stands
Spearman's correlation of the model's leaning to pronation with the true angle, which shows small differences sooner. FOLDER keeps every answer, so
a run that was stopped goes on.
"""
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from common import gain, keep, machine, options
from fastai.callback.core import Callback
from recipes import drawn_study, made
from torch.nn.functional import interpolate

from anklealign.core import CLASSES
from anklealign.evaluation.metrics import Bootstrap, difference, score
from anklealign.study.manifest import read_manifest
from anklealign.study.splits import cross_splits
from anklealign.training import train as training
from anklealign.training.recipes import augmentations, recipes
from anklealign.training.runs import load_run, probabilities

TESTED, TEST_SEED = 1060, 12 # phantoms of other people


class Balanced(Callback):
    "Draws the training pictures so that all classes come up alike."
    order = 12
    def before_train(self):
        loader = self.learn.dls.train
        labels = loader.dataset.items.label_id.to_numpy()
        weights = (1/np.bincount(labels))[labels]
        loader.get_idxs = lambda: loader.rng.choices(range(len(labels)), weights, k=len(labels))


def changed(**changes): return replace(recipes['heels_imagenet'], **changes)


class Growing(Callback):
    "Progressive resizing: half the size at first, whole size for the second half of the training."
    order = 50
    def before_batch(self):
        if self.training and self.learn.pct_train < .5:
            pictures, *more = self.learn.xb
            self.learn.xb = (interpolate(pictures, scale_factor=.5, mode='area'), *more)


def seen(name, **changes):
    "The recipe with its augmentation changed."
    augmentations[name] = replace(augmentations['heels_imagenet'], **changes)
    return changed(augmentation=name)


def variants():
    "The recipe with one thing changed; the last ones were the least likely to help."
    plain = seen('no lean', lean_deg=0.)
    return {'as it is': changed(), 'one look, not mirrored': changed(mirror=False), 'labels, not votes of the group': changed(target='label'),
            'no lean': plain, 'no lean, three logits': replace(plain, model='lite0'), 'no windows on one foot': seen('no windows', one_foot=0.),
            'not flipped': seen('not flipped', flip=0.), 'no camera roll': seen('no roll', roll_deg=0.), 'camera roll of 15 degrees': seen('roll 15', roll_deg=15.),
            'moving average of the weights': changed(average=.98), 'classes drawn alike': changed(loss='cross_entropy'),
            'all pictures count alike': changed(loss='cross_entropy'), 'class weights': changed(loss='weighted_cross_entropy'), 'pictures that grow': changed(),
            'random weights': changed(weights='none'), 'no crops': seen('no crops', area=(1., 1.)), 'small crops': seen('small crops', area=(.8, 1.)),
            'no crops, moving average': replace(seen('no crops', area=(1., 1.)), average=.98), 'same light': seen('same light', brightness=0., contrast=0.),
            '224 pixels': changed(size=224), '30 epochs': changed(epochs=30)}


MORE: dict[str, list[Callable]] = {'classes drawn alike': [Balanced], 'pictures that grow': [Growing]}


def other_study(work): return drawn_study(work/'other', TESTED, TEST_SEED)


def train_with(study, run, recipe, seed, rows, more):
    "`train`, with callbacks that no recipe has."
    usual = training.recipe_callbacks
    training.recipe_callbacks = lambda *args: usual(*args) + [o() for o in more]
    try: return training.train(study, run, recipe, seed, rows=rows)
    finally: training.recipe_callbacks = usual


def learned_from(work):
    "The study, and its rows: the last of three splits becomes training too, only validation pictures are kept back."
    study, rows = made(work)
    rows = next(cross_splits(rows, 8, seed=1))
    return study, rows.assign(split=rows.split.replace('test', 'train'))


def compute(work, seeds, only):
    study, rows = learned_from(work)
    other = other_study(work)
    tested = read_manifest(other)
    for name, recipe in variants().items():
        for seed in seeds:
            place = work/'ablation'/f'{name}-{seed}'
            if (only and name not in only) or (place/'answers.csv').exists(): continue
            start = time.process_time()
            if name == 'one look, not mirrored': model = load_run(work/'ablation'/f'as it is-{seed}/run')[0].inner # the same training, asked once
            else: model = load_run(train_with(study, place/'run', recipe, seed, rows, MORE.get(name, [])))[0]
            place.mkdir(parents=True, exist_ok=True)
            seconds = time.process_time() - start
            answers = probabilities(model, other, tested, recipe)
            pd.DataFrame(answers.round(4), columns=CLASSES).assign(seconds=seconds).to_csv(place/'answers.csv', index=False)
            print(name, seed, time.strftime('%H:%M'), flush=True)


def measured(tested, files):
    "Mean over seeds of accuracy, macro-F1 and rank correlation; predictions of the first seed."
    rows, said = [], []
    for file in files:
        answers = pd.read_csv(file)
        predicted = answers[list(CLASSES)].to_numpy().argmax(1)
        table = score(tested.label_id, predicted, tested.group, 1, how=Bootstrap(rounds=100))
        rank = (np.log(answers.pronation + 1e-4) - np.log(answers.supination + 1e-4)).corr(tested.angle_deg, method='spearman')
        rows.append((table.loc['accuracy'].value, table.loc['macro_f1'].value, rank, answers.seconds[0]/60))
        said.append(predicted)
    return np.array(rows), said


def report(work):
    tested = read_manifest(other_study(work))
    files = {name: sorted((work/'ablation').glob(f'{name}-[0-9]/answers.csv')) for name in variants()}
    base, said = measured(tested, files['as it is'])
    learned = (learned_from(work)[1].split == 'train').sum()
    lines = [f'trained on {learned}, tested on {len(tested)} synthetic pictures (phantoms) of {tested.group.nunique()} other people; means of the trainings (lowest-highest macro-F1);',
             f'difference of the first trainings, paired, with 95 % interval over people; {machine()}', '',
             f'{"":34}{"trained":>8}{"accuracy":>9}{"macro-F1":>22}{"rank":>7}{"CPU min.":>9}{"  difference in macro-F1"}']
    for name, found in files.items():
        if not found: continue
        rows, other = measured(tested, found)
        d = difference(tested.label_id, other[0], said[0], tested.group).loc['macro_f1']
        mean = rows.mean(0)
        versus = '' if name == 'as it is' else f'  {gain(d)}'
        lines.append(f'{name:34}{len(found):8}{mean[0]:9.3f}{f"{mean[1]:.3f} ({rows[:, 1].min():.3f}-{rows[:, 1].max():.3f})":>22}{mean[2]:7.3f}{mean[3]:9.1f}{versus}')
    keep('ablation', lines)


if __name__ == '__main__':
    args = options(__doc__, work=Path, seeds=[1, 2], only=dict(nargs='*'), table=False)
    if not args.table: compute(args.work, args.seeds, args.only)
    report(args.work)
