"""Whether the queue of `anklealign label-studio queue` teaches a model faster than annotating in random order, on synthetic pictures.

python benchmarks/annotate_next.py STUDY [--pictures 500] [--seeds 3]

STUDY is a prepared study of phantoms. Its feet are read once; what learns is the head of the recipe `measured`. For each seed, three tenths of the
people are the test. Both orders begin with the same 12 pictures, and a batch of 12 is added eleven times; a batch of the queue is chosen by
`choose_next` from what the model of the moment says. The figures are macro-F1 and log loss on the test people; the difference is paired, its mean over
the batches has a 95 % interval over test people, drawn 500 times, the seeds together; a draw without one of the classes is left out.
"""
import numpy as np
import torch
from common import keep, options

from anklealign.core import CLASSES
from anklealign.evaluation.metrics import figures
from anklealign.loop.job import choose_next, worth
from anklealign.study.manifest import is_synthetic, read_manifest
from anklealign.training.dataloaders import picture_loader
from anklealign.training.heel_nets import OrdinalHead
from anklealign.training.recipes import models, pretrained, recipes

BATCH, BATCHES = 12, 12


def read(study, rows):
    "The feet of the pictures."
    recipe = recipes['measured']
    model = models['measured'](recipe)
    pretrained['phantoms']['measured'](model)
    with torch.no_grad(): return torch.cat([model.eval().reader(x)[0] for x in picture_loader(study, rows, recipe.size)])


def learned(feet, labels):
    "A head that has learned from these."
    torch.manual_seed(0)
    head = OrdinalHead()
    optimiser = torch.optim.Adam(head.parameters(), .05)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.nll_loss(head(feet), labels).backward()
        optimiser.step()
    return head


def curve(order, feet, labels, groups, pool, test, rng):
    "What the heads answer to the test pictures, batch after batch."
    chosen = list(rng.permutation(pool)[:BATCH])
    for _ in range(BATCHES):
        head = learned(feet[chosen], labels[chosen])
        with torch.no_grad(): said = head(feet).exp().numpy()
        yield said[test]
        left = np.setdiff1d(pool, chosen)
        if order == 'random': chosen += list(rng.permutation(left)[:BATCH])
        else:
            counts = np.bincount(labels[chosen], minlength=3)
            chosen += list(left[choose_next(worth(said[left], counts), groups[left], BATCH, int(rng.integers(2**32)))])


def macro_f1(labels, said):
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (labels, said.argmax(1)), 1)
    return float(figures(counts)['macro_f1'])


def log_loss(labels, said): return float(-np.log(np.clip(said[np.arange(len(labels)), labels], 1e-9, 1)).mean())


def measure(study, pictures, seeds):
    rows = read_manifest(study)
    assert is_synthetic(rows), 'give a study of phantoms'
    rows = rows[rows.group.isin(np.random.default_rng(0).permutation(rows.group.unique())[:pictures*rows.group.nunique()//len(rows)])].reset_index(drop=True)
    feet = read(study, rows)
    labels, groups, people = rows.label.map(CLASSES.index).to_numpy(), rows.group.to_numpy(), rows.group.unique()
    kinds = {'macro-F1': macro_f1, 'log loss': log_loss}
    means, drawn = {(k, o): [] for k in kinds for o in ('random', 'queue')}, {k: [] for k in kinds}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        tested = rng.permutation(people)[:3*len(people)//10]
        test, pool = (np.flatnonzero(np.isin(groups, tested) == o) for o in (True, False))
        answers = {o: list(curve(o, feet, torch.tensor(labels), groups, pool, test, np.random.default_rng(seed))) for o in ('random', 'queue')}
        draw, members = np.random.default_rng(100 + seed), [np.flatnonzero(groups[test] == g) for g in tested]
        parts = [np.concatenate([members[i] for i in draw.integers(len(members), size=len(members))]) for _ in range(500)]
        for k, figure in kinds.items():
            for o, said in answers.items(): means[k, o].append([figure(labels[test], p) for p in said])
            drawn[k].append([np.mean([figure(labels[test][d], a[d]) - figure(labels[test][d], b[d])
                                      for a, b in zip(answers['queue'][1:], answers['random'][1:], strict=True)]) for d in parts])
    yield f'{len(rows)} synthetic pictures of {len(people)} people; {seeds} seeds, about {len(test)} test pictures of {len(tested)} people each'
    for k in kinds:
        random, queue = (np.mean(means[k, o], axis=0) for o in ('random', 'queue'))
        yield f'\n{"annotated":>10}{"random":>9}{"queue":>9}   {k}, mean of the seeds'
        for i, (a, b) in enumerate(zip(random, queue, strict=True)): yield f'{BATCH*(i + 1):10}{a:9.3f}{b:9.3f}'
        low, high = np.nanquantile(np.nanmean(drawn[k], axis=0), [.025, .975])
        yield f'queue minus random, mean after the first batch: {(queue - random)[1:].mean():+.3f} (95 % interval over test people {low:+.3f} to {high:+.3f})'


if __name__ == '__main__':
    keep('annotate_next', measure(**vars(options(__doc__, 'study', pictures=500, seeds=5))))
