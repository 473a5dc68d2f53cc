"""How often the interval of `suspected_labels` holds the mean number over many studies.

python benchmarks/doubt_interval.py [--studies 100] [--rounds 200]

Simulated studies of 40 and of 100 people with four pictures each, one label in ten changed, and a simulated model whose errors are alike for the
pictures of one person. The mean is that of 400 further studies.
"""
import numpy as np
import pandas as pd
from common import keep, options

from anklealign.core import CLASSES
from anklealign.evaluation.labels import find_label_issues, suspected_labels
from anklealign.evaluation.metrics import PROBABILITIES, Bootstrap


def study(seed, people, pictures=4, wrong=.1):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(people), pictures)
    truth = rng.choice(3, people, p=[.25, .6, .15])[group]
    logits = 2.5*np.eye(3)[truth] + rng.normal(size=(people, 3))[group] + rng.normal(size=(len(group), 3))
    changed = np.where(truth == 1, rng.choice([0, 2], len(group)), 1)
    labels = np.where(rng.random(len(group)) < wrong, changed, truth)
    probabilities = np.exp(logits)/np.exp(logits).sum(1, keepdims=True)
    return pd.DataFrame(probabilities, columns=PROBABILITIES).assign(image=np.arange(len(group)).astype(str), group=group, label=np.take(CLASSES, labels))


def measure(studies, rounds):
    yield f'{"people":>8}{"pictures":>10}{"mean suspected":>16}{"held":>8}{"too low":>9}{"too high":>10}   simulated; {studies} intervals of {rounds} rounds each'
    for people in (40, 100):
        mean = np.mean([find_label_issues(study(10_000 + i, people)).suspected.sum() for i in range(400)])
        found = pd.DataFrame([suspected_labels(find_label_issues(study(i, people)), how=Bootstrap(rounds=rounds)) for i in range(studies)])
        below, above = (found.high < mean).sum(), (found.low > mean).sum()
        yield f'{people:8}{4*people:10}{mean:16.1f}{studies - below - above:8}{below:9}{above:10}'


if __name__ == '__main__':
    keep('doubt_interval', measure(**vars(options(__doc__, studies=100, rounds=200))))
