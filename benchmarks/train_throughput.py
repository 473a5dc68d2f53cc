"""Training images a second, in four ways for four models, from the same processed study on disk, in one run.

python benchmarks/train_throughput.py [--epochs 2] [--models resnet18 lite0 gapcnn tinycnn]

(a) the obvious way: a dataset that opens its JPEG anew in every epoch, torchvision transforms, DataLoader with 2 workers, float32
(b) stock fastai: ImageDataLoaders with its default augmentation, Learner
(c) ours: pixel store, augmentation of whole batches, the number format and layout that fit the processor
(d) ceiling: the same model, format, layout and memory settings; forward, backward and optimiser step on a constant tensor

Each way runs in a process of its own. The time is that of the training part of an epoch, the first epoch being a warm-up; batch 32,
224 pixels. The pictures are synthetic: the study that ships with the package, all of its pictures used for training.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil

BATCH, SIZE = 32, 224
WAYS = {'a': 'dataset + DataLoader, float32', 'b': 'stock fastai', 'c': 'anklealign', 'd': 'ceiling (constant tensor)'}
RECIPES = {'resnet18': 'resnet18', 'lite0': 'resnet18', 'gapcnn': 'gapcnn', 'tinycnn': 'baseline'} # whose augmentation is used


def prepared(where):
    from anklealign.core import Settings
    from anklealign.data import prepare
    from anklealign.manifest import read_manifest
    from anklealign.rawstudy import demo_study
    study = prepare(demo_study(), where, Settings(output=str(where)))
    rows = read_manifest(study)
    rows = rows.assign(split='train')
    return study, rows.iloc[:len(rows)//BATCH*BATCH]


def network(name):
    from anklealign.recipe import Recipe, models
    return models[name](Recipe('speed', name, size=SIZE))


def transforms(name):
    "torchvision's words for what the recipes do."
    from torchvision import transforms as T
    ways = {'resnet18': [T.Resize(256), T.RandomCrop(SIZE), T.RandomHorizontalFlip(), T.RandomRotation(15), T.ColorJitter(.2, .2, .2)],
            'gapcnn': [T.RandomResizedCrop(SIZE, (.85, 1), (.9, 1.1)), T.RandomAffine(0, (.06, .06)), T.ColorJitter(.15, .15)], 'baseline': [T.Resize(SIZE)]}
    return T.Compose([*ways[RECIPES[name]], T.ToTensor()])


def obvious(name, study, rows, epochs):
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Pictures(Dataset):
        def __init__(self): self.change, self.rows = transforms(name), list(zip(rows.image, rows.label_id, strict=True))
        def __len__(self): return len(self.rows)
        def __getitem__(self, i): return self.change(Image.open(study/'images'/self.rows[i][0]).convert('RGB')), self.rows[i][1]

    model, loader = network(name).train(), DataLoader(Pictures(), BATCH, shuffle=True, num_workers=2)
    optimiser, times = torch.optim.Adam(model.parameters(), 1e-4), []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        for x, y in loader:
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
            optimiser.zero_grad()
        times.append(time.perf_counter() - start)
    return times[1:]


def clock():
    from fastai.callback.core import Callback

    class Clock(Callback):
        "Times the training part of every epoch."
        def before_fit(self): self.times = []
        def before_train(self): self.start = time.perf_counter()
        def after_train(self): self.times.append(time.perf_counter() - self.start)
    return Clock()


def stock(name, study, rows, epochs):
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, Resize, accuracy, aug_transforms
    table = rows.assign(is_valid=[False]*(len(rows) - 8) + [True]*8)[['image', 'label', 'is_valid']]
    loaders = ImageDataLoaders.from_df(table, study/'images', valid_col='is_valid', item_tfms=Resize(SIZE), batch_tfms=aug_transforms(), bs=BATCH, num_workers=2, device='cpu')
    timer = clock()
    learn = Learner(loaders, network(name), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs + 1, cbs=timer)
    return timer.times[1:]


def ours(name, study, rows, epochs):
    from anklealign.recipe import Recipe, recipes
    from anklealign.training import dataloaders, fit, learner
    wanted = recipes[RECIPES[name]]
    recipe = Recipe('speed', name, size=SIZE, load=wanted.load, augmentation=wanted.augmentation, epochs=epochs + 1, batch_size=BATCH, lr=1e-4)
    rows = rows.assign(split=['train']*(len(rows) - 8) + ['valid']*8)
    timer, learn = clock(), learner(dataloaders(study, recipe, rows), recipe, 'auto')
    with learn.no_bar(), learn.no_logging(): fit(learn, recipe, [timer])
    return timer.times[1:]


def ceiling(name, study, rows, epochs):
    import torch

    from anklealign.engine import best_precision, keep_memory
    keep_memory()
    dtype = getattr(torch, best_precision())
    model = network(name).train().to(memory_format=torch.channels_last)
    x, y = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last), torch.arange(BATCH) % 3
    optimiser, times = torch.optim.Adam(model.parameters(), 1e-4, fused=True), []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        for _ in range(len(rows)//BATCH):
            with torch.autocast('cpu', dtype, enabled=dtype != torch.float32): prediction = model(x)
            torch.nn.functional.cross_entropy(prediction.float(), y).backward()
            optimiser.step()
            optimiser.zero_grad()
        times.append(time.perf_counter() - start)
    return times[1:]


def one(way, name, where, epochs):
    "Runs in a process of its own; prints images a second of each epoch."
    from anklealign.manifest import read_manifest
    study = Path(where)/'processed'
    rows = read_manifest(study)
    rows = rows.iloc[:len(rows)//BATCH*BATCH]
    times = {'a': obvious, 'b': stock, 'c': ours, 'd': ceiling}[way](name, study, rows, epochs)
    pictures = len(rows) - 8*(way in 'bc')
    print(json.dumps([pictures/t for t in times]))


def memory(process):
    "Peak resident memory of the process and its children until it ends, in MB; shared pages are counted once a process."
    peak, own = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try: peak = max(peak, sum(o.memory_info().rss for o in [own, *own.children(recursive=True)]))
        except psutil.NoSuchProcess: pass
        time.sleep(.05)
    return peak/1e6


def main(epochs, models):
    with tempfile.TemporaryDirectory() as where:
        _, rows = prepared(where)
        print(f'{len(rows)} synthetic pictures of 256 pixels, batches of {BATCH} at {SIZE} pixels, {epochs} epochs after a warm-up; '
              f'{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime("%Y-%m-%d")}')
        print(f'{"":34}{"images/s":>10}{"lowest":>9}{"highest":>9}{"peak MB":>9}{"of (a)":>8}{"of (d)":>8}')
        for name in models:
            found = {}
            for way in WAYS:
                process = subprocess.Popen([sys.executable, __file__, '--one', way, name, where, '--epochs', str(epochs)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                peak = memory(process)
                found[way] = json.loads(process.stdout.read().splitlines()[-1]), peak
            mean = {k: len(v)/sum(1/o for o in v) for k, (v, _) in found.items()}
            print(name)
            for way, (speeds, peak) in found.items():
                print(f'  ({way}) {WAYS[way]:28}{mean[way]:10.1f}{min(speeds):9.1f}{max(speeds):9.1f}{peak:9.0f}{mean[way]/mean["a"]:8.2f}{mean[way]/mean["d"]:8.2f}', flush=True)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--models', nargs='*', default=list(RECIPES))
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one: one(*args.one, args.epochs)
    else: main(args.epochs, args.models)
