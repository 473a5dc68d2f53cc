"""What several photos of a person, answered together, are worth beside one: from the answers that `recipes.py` keeps.

python benchmarks/together.py --work FOLDER [--recipe measured]

FOLDER is that of `recipes.py`. The people with at least four pictures are asked with one, two, three and four of them: everything that can be drawn is
drawn, and the mean of the calibrated probabilities is the answer to each picture drawn: sharpened as the fold's validation people allow, as the
predictor does, and, below, as it is. Sets and abstention use the thresholds that the fold's validation pictures gave for single photos.
"""
from itertools import combinations
from pathlib import Path

import numpy as np
from common import gain, interval, keep, machine, options
from recipes import PROBABILITIES, collected

from anklealign.core import Settings
from anklealign.decision import abstain, aggregate, fit_on_validation, prediction_sets
from anklealign.evaluation.metrics import difference, score

MOST = 4 # photos of a person


def drawn(answers, k):
    "Every choice of `k` pictures of a person: rows of `answers`, and the number of the choice that each belongs to."
    chosen = [np.array(o) for rows in answers.groupby('group').indices.values() for o in combinations(rows, k)]
    return np.concatenate(chosen), np.repeat(np.arange(len(chosen)), k)


def asked(work, recipe):
    "The answers of all folds, calibrated, of people with enough pictures; what each fold's validation pictures promise."
    answers = collected(work)[recipe]
    rules = {fold: fit_on_validation(work/'folds'/recipe/str(fold)/'run', Settings().evaluate) for fold in answers.fold.unique()}
    several = answers[answers.groupby('group').image.transform('size') >= MOST].sort_values(['group', 'image']).groupby('group').head(MOST).reset_index(drop=True)
    for fold, rows in several.groupby('fold').groups.items():
        several.loc[rows, PROBABILITIES] = rules[fold].answer(several.loc[rows, PROBABILITIES].to_numpy())[0]
    return several, rules


def together(answers, rules, k, sharpened):
    rows, choice = drawn(answers, k)
    table = answers.iloc[rows].reset_index(drop=True)
    p, sets, silent = table[PROBABILITIES].to_numpy(), np.zeros((len(table), 3), bool), np.zeros(len(table), bool)
    for fold, places in table.groupby('fold').indices.items():
        rule = rules[fold]
        p[places] = aggregate(p[places], choice[places], rule.sharpening if sharpened else 0)
        sets[places], silent[places] = prediction_sets(p[places], rule.sets), abstain(p[places], rule.abstain_below)
    table[PROBABILITIES] = p
    return table, p.argmax(1), sets, silent


def line(name, table, predicted, sets, silent):
    true = table.label_id.to_numpy()
    scores = score(true, predicted, table.group, 1)
    wrong = (predicted != true)[~silent].mean() if (~silent).any() else np.nan
    per_class = ' / '.join(f'{sets[true == i, i].mean():.2f}' for i in range(3))
    gap = np.take_along_axis(table[PROBABILITIES].to_numpy(), predicted[:, None], 1)[:, 0].mean() - (predicted == true).mean()
    return (f"{name:16}{interval(scores.loc['accuracy']):>22}{interval(scores.loc['macro_f1']):>22}{gap:>+9.3f}{per_class:>20}{sets.sum(1).mean():>9.2f}"
            f'{(~silent).mean():>10.0%}{wrong:>7.3f}')


def report(work, recipe):
    answers, rules = asked(work, recipe)
    lines = [f'{recipe}: {len(answers)} synthetic pictures (phantoms) of {answers.group.nunique()} people with four or more, each answered by a model that has not seen the person;',
             'all choices of so many photos of a person; 95 % intervals over people; sets are made for 90 % of each class, thresholds for 15 % wrong answers;',
             f'{machine()}', '',
             f'{"":16}{"accuracy":>22}{"macro-F1":>22}{"too sure":>9}{"class in the set":>20}{"classes":>9}{"answered":>10}{"wrong":>7}']
    found = {k: together(answers, rules, k, sharpened=True) for k in range(1, MOST + 1)}
    lines += [line(f'{k} photo{"s"*(k > 1)}', *o) for k, o in found.items()]
    lines += [line(f'{k} photos, mean', *together(answers, rules, k, sharpened=False)) for k in range(2, MOST + 1)]
    always = np.ones(len(answers), int)
    scores = score(answers.label_id, always, answers.group, 1)
    lines += [f"{'always neutral':16}{scores.loc['accuracy'].value:>8.3f}{scores.loc['macro_f1'].value:>22.3f}", '']
    four, one = (found[k][0].assign(predicted=found[k][1]).set_index('image').loc[answers.image] for k in (MOST, 1))
    for metric, o in difference(answers.label_id, four.predicted, one.predicted, answers.group).loc[['accuracy', 'macro_f1']].iterrows():
        lines.append(f'four photos instead of one, same pictures: {metric} {gain(o)}')
    lines += ['', 'sharpening of the folds: ' + ', '.join(f'{o.sharpening:.2f}' for o in rules.values())]
    keep('together', lines)


if __name__ == '__main__':
    report(**vars(options(__doc__, work=Path, recipe='measured')))
