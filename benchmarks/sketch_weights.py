"""Weights of EfficientNet-Lite0 that have learned from sketches what an angle is: from its ImageNet weights, on drawings of known angle.

python benchmarks/sketch_weights.py --work FOLDER [--sketches 12000] [--epochs 6] --out FILE

Every processor trains a copy on batches of 32 of its own, and the gradients are averaged. FOLDER keeps the sketches, so that a run that was
stopped need not draw them again. Printed is, now and then, the mean absolute error on 500 sketches that are not learned from, in degrees;
`anklealign/results/sketch_weights.txt` keeps what is printed.
"""
import argparse
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import huber_loss, interpolate

from anklealign.decision import CUTOFFS
from anklealign.images import square
from anklealign.phantom.annotators import MEAN_DEG
from anklealign.phantom.sketch import sketches
from anklealign.training.augment import Augment, Changes
from anklealign.training.callbacks import best_precision, keep_memory
from anklealign.training.dataloaders import TensorImage
from anklealign.training.recipes import Recipe, models, pretrained

SEED, LOAD, HELD_BACK = 1, 256, 500
RESULTS = Path(__file__).parents[1]/'anklealign'/'results'
BATCH, LR, BODY_LR, WEIGHT_DECAY = 32, 2e-2, .3, .1
RECIPE = Recipe('sketches', 'lite0_degrees', size=160, weights='imagenet')
CHANGES = Changes(area=(.8, 1.), roll_deg=3, flip=.5, brightness=.3, contrast=.3, saturation=.5)


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


class Degrees(nn.Module):
    "The estimate itself, before cut-offs make classes of it."
    def __init__(self, model):
        super().__init__()
        self.model, self.dtype = model.to(memory_format=torch.channels_last), getattr(torch, best_precision())
    def forward(self, pictures):
        with torch.autocast('cpu', self.dtype, enabled=self.dtype != torch.float32): seen = self.model.features(pictures.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        return self.model.head.degrees(seen.float())


def floats(pictures, rows): return TensorImage(torch.from_numpy(pictures[rows.numpy()]).float()/255)


def error(model, pictures, angles, rows):
    "Mean absolute error in degrees, on whole pictures."
    model.eval()
    with torch.inference_mode(): said = torch.cat([model(interpolate(torch.Tensor(floats(pictures, o)), size=RECIPE.size, mode='bicubic', antialias=True)) for o in rows.split(64)])
    model.train()
    return (said - angles[rows]).abs().mean().item()


def learn(rank, world, work, n, epochs, out):
    "One of `world` processes; the first one prints and saves."
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    keep_memory()
    dist.init_process_group('gloo', init_method=f'file://{(work/"processes").absolute()}', rank=rank, world_size=world)
    pictures, angles = drawn(work, n)
    model = models[RECIPE.model](RECIPE)
    pretrained[RECIPE.weights][RECIPE.model](model)
    model.head.angle[1].bias.data.fill_(MEAN_DEG/2)
    estimate = Degrees(model)
    together = nn.parallel.DistributedDataParallel(estimate, find_unused_parameters=True) # the cut-offs
    augment = Augment(RECIPE.size, CHANGES)
    order = torch.randperm(len(angles), generator=torch.Generator().manual_seed(SEED))
    held, rows = order[:HELD_BACK], order[HELD_BACK:]
    *body, head = model.parameter_groups()
    optimiser = torch.optim.AdamW([dict(params=o, lr=LR*BODY_LR) for o in body] + [dict(params=head, lr=LR)], weight_decay=WEIGHT_DECAY, fused=True)
    steps = epochs*(len(rows)//(BATCH*world))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [o['lr'] for o in optimiser.param_groups], total_steps=steps, pct_start=.25)
    start, step = time.time(), 0
    lines = [f'{n} sketches, {epochs} epochs, {world} processes with batches of {BATCH}; {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime("%Y-%m-%d")}']
    for epoch in range(epochs):
        mixed = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))]
        torch.manual_seed(SEED + world*epoch + rank) # every process changes its pictures in its own way
        for chosen in mixed[:steps//epochs*BATCH*world].split(BATCH)[rank::world]:
            loss = huber_loss(together(augment.encodes(floats(pictures, chosen)).as_subclass(torch.Tensor)), angles[chosen], delta=2.)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if rank == 0 and (step % 100 == 0 or step == steps):
                lines.append(f'{step}/{steps}: off by {error(estimate, pictures, angles, held):.2f} degrees (n = {len(held)} sketches), {(time.time() - start)/60:.1f} min')
                print(lines[-1], flush=True)
    model.head.middle.data.fill_(np.mean(CUTOFFS)) # where neutral lies, in degrees from the vertical
    if rank == 0:
        out.write_bytes(safetensors.torch.save(half(model.state_dict())))
        lines.append(f'{out.name}: {out.stat().st_size/1e6:.1f} MB')
        (RESULTS/'sketch_weights.txt').write_text('\n'.join(lines) + '\n')
    dist.destroy_process_group()


def half(state): return {k: v.half().contiguous() if v.ndim > 1 else v.contiguous() for k, v in state.items()}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    parser.add_argument('--sketches', type=int, default=12_000)
    parser.add_argument('--epochs', type=int, default=6)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    drawn(args.work, args.sketches)
    (args.work/'processes').unlink(missing_ok=True)
    torch.multiprocessing.spawn(learn, (os.cpu_count(), args.work, args.sketches, args.epochs, args.out), nprocs=os.cpu_count())
