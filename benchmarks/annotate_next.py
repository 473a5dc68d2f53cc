"""Whether the queue of `anklealign label-studio queue` teaches a model faster than annotating in random order, on synthetic pictures.

python benchmarks/annotate_next.py STUDY [--pictures 500] [--seeds 3]

STUDY is a prepared study of phantoms. Its feet are read once; what learns is the head of the recipe `measured`. For each seed, three tenths of the
people are the test. Both orders begin with the same 12 pictures, and a batch of 12 is added eleven times; a batch of the queue is chosen by
`choose_next` from what the model of the moment says. The figure is macro-F1 on the test people; the difference is paired, its mean over the batches
has a 95 % interval over test people, drawn 1,000 times, the seeds together; a draw without one of the classes is left out.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anklealign.core import CLASSES
from anklealign.evaluation.metrics import figures
from anklealign.loop.review import choose_next
from anklealign.study.duplicates import fingerprint
from anklealign.study.manifest import is_synthetic, read_manifest
from anklealign.training.dataloaders import picture_loader
from anklealign.training.heel_nets import OrdinalHead
from anklealign.training.recipes import models, pretrained, recipes

BATCH, BATCHES = 12, 12


def read(study, rows):
    "The feet of the pictures, and their fingerprints."
    recipe = recipes['measured']
    model = models['measured'](recipe)
    pretrained['phantoms']['measured'](model)
    feet = torch.cat([model.eval().read(x) for x, _ in picture_loader(study, rows, recipe.size)])
    marks = [fingerprint(Image.open(Path(study)/'images'/o).convert('RGB')) for o in rows.image]
    return feet, np.stack([np.abs(o.descriptor.astype(float)).ravel() for o in marks])


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


def curve(order, feet, marks, labels, groups, pool, test, rng):
    "What the heads answer to the test pictures, batch after batch."
    chosen = list(rng.permutation(pool)[:BATCH])
    for _ in range(BATCHES):
        head = learned(feet[chosen], labels[chosen])
        with torch.no_grad(): said = head(feet).exp().numpy()
        yield said[test].argmax(1)
        left = np.setdiff1d(pool, chosen)
        if order == 'random': chosen += list(rng.permutation(left)[:BATCH])
        else:
            top = np.sort(said[left], axis=1)
            chosen += list(left[choose_next(1 - (top[:, 2] - top[:, 1]), marks[left], groups[left], BATCH, marks[chosen])])


def macro_f1(labels, said):
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (labels, said), 1)
    return float(figures(counts)['macro_f1'])


def measure(study, pictures, seeds):
    rows = read_manifest(study)
    assert is_synthetic(rows), 'give a study of phantoms'
    rows = rows[rows.group.isin(np.random.default_rng(0).permutation(rows.group.unique())[:pictures*rows.group.nunique()//len(rows)])].reset_index(drop=True)
    feet, marks = read(study, rows)
    labels, groups, people = rows.label.map(CLASSES.index).to_numpy(), rows.group.to_numpy(), rows.group.unique()
    means, drawn = {'random': [], 'queue': []}, []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        tested = rng.permutation(people)[:3*len(people)//10]
        test = np.flatnonzero(np.isin(groups, tested))
        pool = np.flatnonzero(~np.isin(groups, tested))
        answers = {o: list(curve(o, feet, marks, torch.tensor(labels), groups, pool, test, np.random.default_rng(seed))) for o in means}
        for o, said in answers.items(): means[o].append([macro_f1(labels[test], p) for p in said])
        draw, members = np.random.default_rng(100 + seed), [np.flatnonzero(groups[test] == g) for g in tested]
        parts = [np.concatenate([members[i] for i in draw.integers(len(members), size=len(members))]) for _ in range(1000)]
        drawn.append([np.mean([macro_f1(labels[test][d], a[d]) - macro_f1(labels[test][d], b[d])
                               for a, b in zip(answers['queue'][1:], answers['random'][1:], strict=True)]) for d in parts])
    yield f'{len(rows)} synthetic pictures of {len(people)} people; {seeds} seeds, about {len(test)} test pictures of {len(tested)} people each'
    yield f'{"annotated":>10}{"random":>9}{"queue":>9}   macro-F1, mean of the seeds'
    for i, (a, b) in enumerate(zip(np.mean(means['random'], axis=0), np.mean(means['queue'], axis=0), strict=True)): yield f'{BATCH*(i + 1):10}{a:9.3f}{b:9.3f}'
    gain, ends = np.mean(means['queue'], axis=0)[1:] - np.mean(means['random'], axis=0)[1:], np.nanquantile(np.nanmean(drawn, axis=0), [.025, .975])
    yield f'queue minus random, mean after the first batch: {gain.mean():+.3f} (95 % interval over test people {ends[0]:+.3f} to {ends[1]:+.3f})'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', type=Path)
    parser.add_argument('--pictures', type=int, default=500)
    parser.add_argument('--seeds', type=int, default=3)
    lines = list(measure(**vars(parser.parse_args())))
    (Path(__file__).parents[1]/'anklealign/results/annotate_next.txt').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines))
