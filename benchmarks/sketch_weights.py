"""Weights of EfficientNet-Lite0 that have learned from sketches what an angle is: from its ImageNet weights, on drawings of known angle.

python benchmarks/sketch_weights.py --work FOLDER [--sketches 10000] [--epochs 4] [--out FILE]

FOLDER keeps the sketches, so that a run that was stopped need not draw them again. Printed is, now and then, the mean absolute error on 500 sketches
that are not learned from, in degrees.
"""
import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch.nn.functional import huber_loss, interpolate

from anklealign.augment import Augment
from anklealign.batches import TensorImage
from anklealign.engine import best_precision, keep_memory
from anklealign.images import square
from anklealign.recipe import augmentations, models, pretrained, recipes
from anklealign.sketch import MEAN_DEG, sketches

SEED, LOAD, HELD_BACK = 1, 256, 500
BATCH, LR, BODY_LR, WEIGHT_DECAY = 32, 2e-2, .3, .1 # those of `heels`


def draw(task):
    "Draw a part of the sketches into the files."
    work, first, n = task
    pictures, angles = (np.load(work/f'{o}.npy', mmap_mode='r+') for o in ('pictures', 'angles'))
    for i, o in enumerate(sketches(n, SEED, LOAD, first), first): pictures[i], angles[i] = np.asarray(square(o.image, LOAD)).transpose(2, 0, 1), o.angle_deg


def drawn(work, n):
    "Sketches and their angles, from FOLDER if they are there."
    work.mkdir(parents=True, exist_ok=True)
    if not (work/f'drawn-{n}').exists():
        for name, dtype, shape in (('pictures', np.uint8, (n, 3, LOAD, LOAD)), ('angles', np.float32, (n,))): np.lib.format.open_memmap(work/f'{name}.npy', 'w+', dtype, shape)
        with ProcessPoolExecutor() as pool: list(pool.map(draw, [(work, first, min(250, n - first)) for first in range(0, n, 250)]))
        (work/f'drawn-{n}').touch()
    return np.load(work/'pictures.npy', mmap_mode='r'), torch.from_numpy(np.load(work/'angles.npy'))


def degrees(model, pictures):
    dtype = getattr(torch, best_precision())
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32): seen = model.features(pictures.contiguous(memory_format=torch.channels_last)).mean((2, 3))
    return model.head.degrees(seen.float())


def floats(pictures, rows): return TensorImage(torch.from_numpy(pictures[rows.numpy()]).float()/255)


def error(model, recipe, pictures, angles, rows):
    "Mean absolute error in degrees, on whole pictures."
    model.eval()
    with torch.inference_mode(): said = torch.cat([degrees(model, interpolate(torch.Tensor(floats(pictures, o)), size=recipe.size, mode='bicubic', antialias=True)) for o in rows.split(64)])
    model.train()
    return (said - angles[rows]).abs().mean().item()


def learn(pictures, angles, epochs):
    recipe = recipes['heels']
    model = models[recipe.model](recipe)
    pretrained[recipe.model](model)
    model.head.angle[1].bias.data.fill_(MEAN_DEG/2)
    model.to(memory_format=torch.channels_last)
    augment = Augment(recipe.size, replace(augmentations['heels'], area=(.8, 1.), lean_deg=0., one_foot=0., saturation=.5))
    order = torch.randperm(len(angles), generator=torch.Generator().manual_seed(SEED))
    held, rows = order[:HELD_BACK], order[HELD_BACK:]
    *body, head = model.parameter_groups()
    optimiser = torch.optim.AdamW([dict(params=o, lr=LR*BODY_LR) for o in body] + [dict(params=head, lr=LR)], weight_decay=WEIGHT_DECAY, fused=True)
    steps = epochs*(len(rows)//BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [o['lr'] for o in optimiser.param_groups], total_steps=steps, pct_start=.25)
    start, step = time.time(), 0
    for _ in range(epochs):
        for chosen in rows[torch.randperm(len(rows))][:len(rows)//BATCH*BATCH].split(BATCH):
            loss = huber_loss(degrees(model, augment.encodes(floats(pictures, chosen)).as_subclass(torch.Tensor)), angles[chosen], delta=2.)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 200 == 0 or step == steps: print(f'{step}/{steps}: off by {error(model, recipe, pictures, angles, held):.2f} degrees (n = {len(held)} sketches), {(time.time() - start)/60:.1f} min', flush=True)
    return model


def half(state): return {k: v.half().contiguous() if v.ndim > 1 else v.contiguous() for k, v in state.items()}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--sketches', type=int, default=10_000)
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(os.cpu_count())
    keep_memory()
    trained = learn(*drawn(args.work, args.sketches), args.epochs)
    safetensors.torch.save_file(half(trained.state_dict()), args.out)
    print(f'{args.out.name}: {args.out.stat().st_size/1e6:.1f} MB')
