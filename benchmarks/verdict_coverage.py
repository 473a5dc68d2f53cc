"""How often does the verdict from all people hold? Simulated studies whose truth is known, answered by grouped folds.

python benchmarks/verdict_coverage.py [--studies 400] [--groups 40 100] [--rounds 2000] [--workers 1] [--minutes 60]

Every study is drawn anew: how much its pictures show, how much of that is common to a person's pictures, one to five pictures a person, one label
in eight at random; one study in five shows nothing at all. A quick model with ordered classes in sight (logistic regression on one telling and
seven idle features) is trained on five grouped folds, split and pooled as the project does it (`study.splits.kfold`), and judged as the
verdict of `anklealign run` is (`evaluation.report.judge`). What the interval has to hold is the same figure on 10,000 new people: of the five
models that answered (their mean), and of the model that the test split of such a study would ship (trained on the split `train`). A false verdict
says better, worse, or able to tell the classes apart, where the five models are not.
"""
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial

os.environ |= {k: '1' for k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}

import numpy as np
import pandas as pd
from common import options
from interval_coverage import errors, people
from sklearn.linear_model import LogisticRegression

from anklealign.core import CLASSES, AnklealignError, Settings
from anklealign.evaluation.metrics import add_answers, figures, group_confusions
from anklealign.evaluation.report import constant_answer, judge
from anklealign.study.splits import kfold, split_groups

FIGURES = 'accuracy', 'balanced_accuracy', 'macro_f1', 'quadratic_kappa', *(f'recall_{c}' for c in CLASSES)
IDLE, FOLDS, POPULATION = 7, 5, 10_000


def draw(n, world, rng):
    "The manifest of a study of `n` people, and what a model may see of each picture."
    strength, share = world
    shown, labels, groups = people(n, rng)
    seen = errors(groups, share, 1 + IDLE, rng)
    seen[:, 0] += strength * (shown - 1)
    rows = pd.DataFrame({'image': [f'{i:06}.jpg' for i in range(len(labels))], 'group': [f'{o:05}' for o in groups], 'label_id': labels})
    return rows.assign(label=np.take(CLASSES, labels)), seen


def model(rows, seen, learned):
    "Trained on the rows that `learned` names."
    return LogisticRegression(C=1., max_iter=300).fit(seen[learned], rows.label_id[learned])


def said(trained, seen):
    "Probabilities of all three classes."
    found = np.zeros((len(seen), len(CLASSES)))
    found[:, trained.classes_] = trained.predict_proba(seen)
    return found


def truth(trained, population, majority):
    "Figures of a model on the population, and by how much they exceed those of always-majority."
    (rows, seen), one = population, np.zeros(len(population[0]), int)
    own, always = (figures(group_confusions(rows.label_id, o, one)[0]) for o in (trained.predict(seen), np.full(len(rows), majority)))
    return {m: float(own[m]) for m in FIGURES} | {f'gain {m}': float(own[m] - always[m]) for m in FIGURES if '_' not in m or m.partition('_')[2] not in CLASSES}


def is_false(report, real):
    "Whether the verdict says what is not so; None where it says nothing."
    gain, right, told = report['gain_over_majority'], real['gain accuracy'], real['gain balanced_accuracy']
    if constant_answer(report) or gain['accuracy']['low'] is None: return None
    if gain['accuracy']['low'] > 0: return right <= 0
    if (gain['balanced_accuracy']['low'] or 0) > 0: return told <= 0
    return right >= 0 if gain['accuracy']['high'] < 0 else None


def trial(k, sizes, rounds):
    "What the verdict of a study says, for each number of people."
    rng, found = np.random.default_rng(k), []
    world = 0 if k % 5 == 0 else rng.uniform(.3, 2.5), rng.uniform(.2, .8)
    population = draw(POPULATION, world, rng)
    settings = Settings(seed=k, evaluate=dict(rounds=rounds))
    for n in sizes:
        rows, seen = draw(n, world, np.random.default_rng([k, n]))
        try:
            folds = kfold(rows, FOLDS, k).to_numpy()
            shipped = model(rows, seen, (split_groups(rows, seed=k) == 'train').to_numpy())
        except AnklealignError: # too few people of a class for five folds: no verdict, which the report says
            found.append(dict(groups=n, figure='verdict', truth=world[0], five=np.nan, shipped=np.nan))
            continue
        models = [model(rows, seen, folds != fold) for fold in range(FOLDS)]
        answers = pd.concat([add_answers(rows[folds == fold], said(o, seen[folds == fold])) for fold, o in enumerate(models)])
        report = judge(answers, rows.label.value_counts(normalize=True).reindex(CLASSES, fill_value=0).to_dict(), True, settings)
        majority = CLASSES.index(report['majority_class'])
        five = pd.DataFrame([truth(o, population, majority) for o in models]).mean().to_dict()
        own = truth(shipped, population, majority)
        for name, real in five.items():
            o = report['gain_over_majority'][name[5:]] if name.startswith('gain') else report['metrics'][name]
            holds = {k: np.nan if o['low'] is None else float(o['low'] <= v <= o['high']) for k, v in (('five', real), ('shipped', own[name]))}
            found.append(dict(groups=n, figure=name, truth=real, off=o['value'] - real, wide=np.nan if o['low'] is None else o['high'] - o['low'], **holds))
        wrong = is_false(report, five)
        found.append(dict(groups=n, figure='verdict', truth=world[0], five=np.nan if wrong is None else float(wrong), shipped=np.nan))
    return found


def report(found, sizes):
    "The table: share of the intervals that hold the truth, and how many studies have one."
    yield f'{"":24}{"true figure":>15}' + ''.join(f'{f"{n} groups":>30}' for n in sizes)
    yield f'{"":39}' + f'{"five":>7}{"shipped":>9}{"n":>6}{"width":>8}' * len(sizes)
    for name in (o for o in found.figure.unique() if o != 'verdict'):
        part = found[found.figure == name]
        low, high = part.truth.quantile([.1, .9])
        text = f'{name:24}{f"{low:.3f}-{high:.3f}":>15}'
        for n in sizes:
            o = part[part.groups == n]
            text += f'{100 * o.five.mean():>7.1f}{100 * o.shipped.mean():>9.1f}{o.five.count():>6}{o.wide.median():>8.3f}'
        yield text


def remarks(found, sizes):
    "How many shares are where they should be, and what became of the verdicts."
    intervals = found[found.figure != 'verdict']
    for who in ('five', 'shipped'):
        for enough in sizes:
            shares = intervals[intervals.groups == enough].groupby('figure', sort=False)[who].mean().dropna()
            outside = shares[~shares.between(.93, .97)]
            yield (f'{who}, {enough} groups: {len(shares) - len(outside)} of {len(shares)} shares within 93-97 %'
                   + f': all but {", ".join(f"{m} ({100*v:.1f})" for m, v in outside.items())}' * (len(outside) > 0))
    verdicts = found[found.figure == 'verdict']
    for n in sizes:
        part = verdicts[verdicts.groups == n]
        for what, o in (('that show nothing', part[part.truth == 0]), ('that show something', part[part.truth > 0])):
            yield f'{n} groups, {len(o)} studies {what}: {o.five.count()} verdicts that say something, {int(o.five.sum())} of them false'


def main(studies, groups, rounds, workers, minutes):
    start, found, done = time.perf_counter(), [], 0
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        for rows in (pool.map if pool else map)(partial(trial, sizes=groups, rounds=rounds), range(studies)):
            found, done = found + rows, done + 1
            if time.perf_counter() - start > 60 * minutes: break
    found, chance = pd.DataFrame(found), 196 * (.95 * .05 / done)**.5
    print(f'{done} simulated studies, {rounds} bootstrap rounds; % of pooled 95 % intervals that hold the figure on {POPULATION:,} new people')
    print(f'(true figure: 10th to 90th percentile; an exact 95 % would come out as {95 - chance:.1f} to {95 + chance:.1f} by chance; width: the median)')
    print('\n'.join([*report(found, groups), *remarks(found, groups)]))


if __name__ == '__main__':
    main(**vars(options(__doc__, studies=400, groups=[40, 100], rounds=2000, workers=1,
                        minutes=dict(type=float, default=60, help='after which it reports what has been simulated by then'))))
