"""How often do 95 % intervals hold the true figure? Simulated models of known figures, tested on few simulated people.

python benchmarks/interval_coverage.py [--models 1000] [--groups 20 40 80 200] [--rounds 2000] [--workers 1]

Every model is drawn anew: how well it tells the classes apart, how much of its error is common to a person's pictures, and how unruly it is. Its
true figures are those on 20,000 people. It is then tested on as many people as --groups says, with one to five pictures each, of whom one picture
in eight is labelled at random. `ours` is `evaluation.metrics.score`, `plain` the 2.5th and 97.5th percentile of the same draws. For
`evaluation.metrics.difference` a second, somewhat better model answers the same pictures.
"""
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

os.environ |= {k: '1' for k in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}

import numpy as np
import pandas as pd
from common import options
from scipy.special import softmax
from scipy.stats import rankdata

from anklealign.core import CLASSES
from anklealign.evaluation.document import OVERALL
from anklealign.evaluation.metrics import Bootstrap, difference, draws, figures, group_confusions, group_losses, group_wins, score

MIX, POPULATION = np.array([.25, .6, .15]), 20_000


def people(n, rng):
    "What pictures show, how they are labelled, and the person on each."
    groups = np.repeat(np.arange(n), rng.integers(1, 6, n))
    shown = rng.choice(3, n, p=MIX)[groups]
    return shown, np.where(rng.random(len(groups)) < 1/8, rng.choice(3, len(groups), p=MIX), shown), groups


def errors(groups, share, columns, rng):
    "Standard normal numbers for each picture; `share` of their variance is common to a person's pictures."
    return share**.5 * rng.normal(size=(groups.max() + 1, columns))[groups] + (1 - share)**.5 * rng.normal(size=(len(groups), columns))


def answers(model, shown, groups, rng):
    "Probabilities a model gives: the posterior of a noisy view of the angle, with unruly logits."
    strength, share, unruly = model
    angles = strength * np.array([-1, 0, 1])
    seen = angles[shown][:, None] + errors(groups, share, 1, rng)
    return softmax(np.log(MIX) - (seen - angles)**2 / 2 + unruly * errors(groups, share, 3, rng), 1)


def true_figures(model, rng):
    "All figures of a model on a large population; AUC from ranks."
    shown, labels, groups = people(POPULATION, rng)
    p = answers(model, shown, groups, rng)
    one = np.zeros(len(labels), int)
    brier, log_loss = group_losses(labels, p, one)[0] / len(labels)
    found = figures(group_confusions(labels, p.argmax(1), one)[0]) | {'brier': brier, 'log_loss': log_loss}
    for c, name in enumerate(CLASSES):
        n = (labels == c).sum()
        found[f'auc_{name}'] = (rankdata(p[:, c])[labels == c].mean() - (n + 1) / 2) / (len(labels) - n)
    return found | {'macro_auc': np.mean([found[f'auc_{c}'] for c in CLASSES])}


def plain(labels, p, groups, rounds, seed):
    "Percentile intervals of every figure."
    counts, weights = group_confusions(labels, p.argmax(1), groups), draws(groups.max() + 1, Bootstrap(rounds=rounds, seed=seed))
    support = np.tensordot(weights, counts.sum(2), 1)
    brier, log_loss = (weights @ group_losses(labels, p, groups)).T / support.sum(1)
    found = figures(np.tensordot(weights, counts, 1)) | {'brier': brier, 'log_loss': log_loss}
    with np.errstate(invalid='ignore', divide='ignore'):
        areas = [(weights @ wins * weights).sum(1) / (n * (support.sum(1) - n)) for n, wins in zip(support.T, group_wins(labels, p, groups), strict=True)]
    found |= {f'auc_{c}': a for c, a in zip(CLASSES, areas, strict=True)} | {'macro_auc': np.mean(areas, 0)}
    return {name: np.nanquantile(v, [.025, .975]) if not np.isnan(v).all() else (np.nan, np.nan) for name, v in found.items()}


def row(kind, n, figure, truth, low, high, rarest):
    holds = np.nan if np.isnan(low) else float(low <= truth <= high)
    return dict(kind=kind, groups=n, figure=figure, truth=truth, holds=holds, rarest=rarest)


def trial(k, sizes, rounds):
    "What the intervals of one model say, for each number of people."
    rng, rows = np.random.default_rng(k), []
    model = rng.uniform(.5, 2.5), rng.uniform(.2, .8), rng.uniform(.5, 1.5)
    better = 1.25 * model[0], *model[1:]
    truth, other = true_figures(model, rng), true_figures(better, rng)
    for n in sizes:
        rng = np.random.default_rng([k, n])
        shown, labels, groups = people(n, rng)
        p, q = (answers(o, shown, groups, rng) for o in (model, better))
        rarest = min(len(np.unique(groups[labels == c])) for c in range(3))
        table = score(labels, p.argmax(1), groups, 1, Bootstrap(rounds=rounds, seed=k), probabilities=p)
        gain = difference(labels, q.argmax(1), p.argmax(1), groups, Bootstrap(rounds=rounds, seed=k), probabilities=(q, p))
        rows += [row('ours', n, m, t, *table.loc[m, ['low', 'high']], rarest) for m, t in truth.items()]
        rows += [row('plain', n, m, truth[m], *ends, rarest) for m, ends in plain(labels, p, groups, rounds, k).items()]
        rows += [row('difference', n, m, other[m] - truth[m], *gain.loc[m, ['low', 'high']], rarest) for m in OVERALL]
    return rows


def share(found, kind, figure, n):
    "The share of intervals that hold the truth, as text, and how many intervals there are."
    holds = found.holds[(found.kind == kind) & (found.figure == figure) & (found.groups == n)]
    return f'{100 * holds.mean():.1f}' if holds.notna().any() else '-', holds.count()


def line(found, kind, figure, sizes):
    "One figure: the range of its true values, and for each number of groups the shares."
    low, high = found.truth[(found.kind == kind) & (found.figure == figure)].quantile([.1, .9])
    text = f'{figure:24}{f"{low:.3f}-{high:.3f}":>15}'
    for n in sizes:
        (ours, count), beside = share(found, kind, figure, n), share(found, 'plain', figure, n)[0] if kind == 'ours' else ''
        text += f'{ours:>9}{beside:>7}{count:>6}'
    return text


def report(found, sizes):
    "The table: share of the intervals that hold the truth, and how many simulations have one."
    yield f'{"":24}{"true figure":>15}' + ''.join(f'{f"{n} groups":>22}' for n in sizes)
    yield f'{"":39}' + f'{"ours":>9}{"plain":>7}{"n":>6}' * len(sizes)
    for m in [*OVERALL, *(m for m in found.figure.unique() if m not in OVERALL)]: yield line(found, 'ours', m, sizes)
    yield 'difference of two models on the same pictures'
    for m in OVERALL: yield line(found, 'difference', m, sizes)


def remarks(found):
    "How many shares are where they should be, and macro-F1 by how many people its rarest class has."
    for (kind, enough), part in found.groupby(['kind', found.groups >= 40]):
        shares = part.groupby(['figure', 'groups'], sort=False).holds.mean().dropna()
        outside = shares[~shares.between(.93, .97)]
        which = '' if kind == 'plain' or outside.empty else f': all but {", ".join(f"{m} {n} ({100*v:.1f})" for (m, n), v in outside.items())}'
        yield f'{kind}, {"40 groups or more" if enough else "fewer groups"}: {len(shares) - len(outside)} of {len(shares)} shares within 93-97 %{which}'
    macro = found[(found.kind == 'ours') & (found.figure == 'macro_f1')]
    bins = macro.groupby(pd.cut(macro.rarest, [0, 3, 6, 9, 1000], labels=['1-3', '4-6', '7-9', '10 or more']), observed=True).holds
    yield 'macro-F1 by the groups of its rarest class: ' + ', '.join(f'{k}: {100*v.mean():.1f} % (n = {v.count()})' for k, v in bins)


def main(models, groups, rounds, workers):
    start = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        found = pd.DataFrame([o for rows in pool.map(partial(trial, sizes=groups, rounds=rounds), range(models), chunksize=10) for o in rows])
    print(f'{models} simulated models, {rounds} bootstrap rounds; % of 95 % intervals that hold the true figure, n simulations with an interval')
    chance = 196 * (.95 * .05 / models)**.5
    print(f'(true figure: 10th to 90th percentile of the models; an exact 95 % would come out as {95 - chance:.1f} to {95 + chance:.1f} by chance)')
    print('\n'.join([*report(found, groups), *remarks(found), f'{time.perf_counter() - start:.0f} s']))


if __name__ == '__main__':
    main(**vars(options(__doc__, models=1000, groups=[20, 40, 80, 200], rounds=2000, workers=1)))
