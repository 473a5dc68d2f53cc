"""Seconds for all figures of a test split with intervals over groups, against the loop everybody writes first, in one run.

python benchmarks/evaluate_speed.py [--pictures 1000] [--groups 250] [--rounds 2000] [--naive-rounds 40]

The loop draws the groups one by one, puts their pictures together and asks scikit-learn for each figure, round after round. It is timed on
--naive-rounds rounds and scaled to --rounds. The pictures, labels and probabilities are simulated. One thread; seconds of processor time,
so that a busy machine does not count.
"""
import os
import time

os.environ |= {k: '1' for k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}

import numpy as np
from common import options, timed
from scipy.special import softmax
from sklearn import metrics as sk

from anklealign.core import CLASSES
from anklealign.evaluation.metrics import Bootstrap, difference, score


def split(pictures, groups, rng):
    "Labels, probabilities and groups of simulated pictures, every group with at least one."
    group = np.concatenate([np.arange(groups), rng.integers(0, groups, pictures - groups)])
    labels = rng.choice(3, groups, p=[.25, .6, .15])[group]
    logits = 1.5 * np.eye(3)[labels] + .8 * rng.normal(size=(groups, 3))[group] + .8 * rng.normal(size=(pictures, 3))
    return labels, softmax(logits, 1), group


def every_figure(labels, probabilities):
    "The figures of `score` with scikit-learn, in the same order of classes."
    predicted = probabilities.argmax(1)
    found = {'accuracy': sk.accuracy_score(labels, predicted), 'balanced_accuracy': sk.balanced_accuracy_score(labels, predicted),
             'macro_f1': sk.f1_score(labels, predicted, average='macro'), 'weighted_f1': sk.f1_score(labels, predicted, average='weighted'),
             'quadratic_kappa': sk.cohen_kappa_score(labels, predicted, weights='quadratic'), 'ordinal_mae': sk.mean_absolute_error(labels, predicted),
             'opposite_rate': np.mean(np.abs(labels - predicted) == 2), 'brier': 3 * sk.mean_squared_error(np.eye(3)[labels], probabilities),
             'log_loss': sk.log_loss(labels, probabilities, labels=[0, 1, 2])}
    each = sk.precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=np.nan)
    for name, values in zip(('precision', 'recall', 'f1'), each, strict=False):
        found |= {f'{name}_{c}': v for c, v in zip(CLASSES, values, strict=True)}
    areas = [sk.roc_auc_score(labels == c, probabilities[:, c]) for c in range(3)]
    return found | {f'auc_{c}': a for c, a in zip(CLASSES, areas, strict=True)} | {'macro_auc': np.mean(areas)}


def naive(labels, probabilities, group, rounds, rng):
    "Figures of each round."
    members = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    for _ in range(rounds):
        again = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        yield every_figure(labels[again], probabilities[again])


def seconds(call): return timed(call, clock=time.process_time)


def main(pictures, groups, rounds, naive_rounds):
    rng = np.random.default_rng(1)
    labels, probabilities, group = split(pictures, groups, rng)
    predicted, prior, how = probabilities.argmax(1), np.full(3, 1/3), Bootstrap(rounds=rounds)
    score(labels, predicted, group, 1, how=Bootstrap(rounds=10), probabilities=probabilities) # imports
    slow, _ = seconds(lambda: list(naive(labels, probabilities, group, naive_rounds, rng)))
    ours = [seconds(lambda: score(labels, predicted, group, 1, how, probabilities=probabilities, prior=prior)) for _ in range(3)]
    fast, table = min(ours, key=lambda o: o[0])
    always = np.full(pictures, 1), np.tile(prior, (pictures, 1))
    both, _ = seconds(lambda: difference(labels, predicted, always[0], group, how, probabilities=(probabilities, always[1])))
    expected = every_figure(labels, probabilities)
    worst = max(abs(table.value[m] - v) for m, v in expected.items())
    slow *= rounds / naive_rounds
    print(f'{pictures} simulated pictures in {groups} groups, {len(expected)} figures, {rounds} bootstrap rounds, one thread, seconds of processor time')
    print(f'{"":46}{"seconds":>10}')
    print(f'{f"loop with scikit-learn ({naive_rounds} rounds, scaled up)":46}{slow:10.1f}')
    print(f'{"score, intervals by bootstrap-t, best of 3":46}{fast:10.2f}')
    print(f'{"difference of two answers, paired":46}{both:10.2f}')
    print(f'ratio {slow / fast:.0f}; largest difference of a figure between the two {worst:.0e}')


if __name__ == '__main__':
    main(**vars(options(__doc__, pictures=1000, groups=250, rounds=2000, naive_rounds=40)))
