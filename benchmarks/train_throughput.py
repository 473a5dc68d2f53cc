"""Training images a second, in four ways for four models, from the same processed study on disk, in one run.

python benchmarks/train_throughput.py [--epochs 5] [--rounds 3] [--models resnet18 lite0 gapcnn tinycnn]

(a) the obvious way: a dataset that opens its JPEG anew in every epoch, torchvision transforms, DataLoader with 2 workers, float32
(b) stock fastai: ImageDataLoaders with its default augmentation, Learner
    both with the networks as they were before this project: torchvision's ResNet-18, ReLU before pooling
(c) ours: pixel store, augmentation of whole batches, the number format and layout that fit the processor
(d) ceiling: the same model, format, layout and memory settings; forward, backward and optimiser step on a constant tensor

Each way runs in a process of its own, and the four take turns, so that a processor that is slower for a while is slower for all. Images a second
are the median of all epochs, their training part, the first epoch of each process being a warm-up; batch 32, 224 pixels. In the first few epochs,
ours still asks the system for memory now and then, as validation parts what was freed; a training of 20 to 100 epochs does not notice. The pictures are synthetic:
256 of the study that ships with the package, and eight more to validate on in the ways that do.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil
from common import HIDDEN, machine, options

BATCH, SIZE, VALID = 32, 224, 8 # VALID: pictures
WAYS = {'a': 'dataset + DataLoader, float32', 'b': 'stock fastai', 'c': 'anklealign', 'd': 'ceiling (constant tensor)'}
RECIPES = {'resnet18': 'resnet18', 'lite0': 'resnet18', 'gapcnn': 'gapcnn', 'tinycnn': 'baseline'} # whose augmentation is used


def prepared(where):
    from anklealign.core import Settings
    from anklealign.data import prepare
    from anklealign.storage import demo_study
    study = prepare(demo_study(), where, Settings(output=str(where)))
    return study, chosen(study)


def chosen(study):
    "So many pictures that all training batches are whole, and the pictures to validate on."
    from anklealign.study.manifest import read_manifest
    rows = read_manifest(study)
    n = (len(rows) - VALID)//BATCH*BATCH
    return rows.iloc[:n + VALID].assign(split=['train']*n + ['valid']*VALID)


def network(name):
    from anklealign.training.recipes import Recipe, models
    return models[name](Recipe('speed', name, size=SIZE))


def plain(name):
    "The network as the replaced systems and fastai's users have it: torchvision's own ResNet-18."
    from torch import nn
    from torchvision.models import resnet18

    from anklealign.baseline import TinyCNN
    from anklealign.gapcnn import GAPCNN
    if name == 'resnet18': return resnet18(num_classes=3)
    model = network(name)
    if not isinstance(model, (TinyCNN, GAPCNN)): return model
    layers = list(model) # theirs come with ReLU before pooling
    for i in range(len(layers) - 1):
        if isinstance(layers[i], nn.MaxPool2d) and isinstance(layers[i + 1], nn.ReLU): layers[i:i + 2] = layers[i + 1], layers[i]
    return nn.Sequential(*layers)


def transforms(name):
    "torchvision's words for what the recipes do."
    from torchvision import transforms as T
    ways = {'resnet18': [T.Resize(256), T.RandomCrop(SIZE), T.RandomHorizontalFlip(), T.RandomRotation(15), T.ColorJitter(.2, .2, .2)],
            'gapcnn': [T.RandomResizedCrop(SIZE, (.85, 1), (.9, 1.1)), T.RandomAffine(0, (.06, .06)), T.ColorJitter(.15, .15)], 'baseline': [T.Resize(SIZE)]}
    scaled = [T.Normalize([.485, .456, .406], [.229, .224, .225])] if name == 'resnet18' else []
    return T.Compose([*ways[RECIPES[name]], T.ToTensor(), *scaled])


def obvious(name, study, rows, epochs):
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Pictures(Dataset):
        def __init__(self): self.change, self.rows = transforms(name), list(zip(rows.image[:-VALID], rows.label_id[:-VALID], strict=True))
        def __len__(self): return len(self.rows)
        def __getitem__(self, i): return self.change(Image.open(study/'images'/self.rows[i][0]).convert('RGB')), self.rows[i][1]

    model, loader = plain(name).train(), DataLoader(Pictures(), BATCH, shuffle=True, num_workers=2)
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
    table = rows.assign(is_valid=rows.split == 'valid')[['image', 'label', 'is_valid']]
    loaders = ImageDataLoaders.from_df(table, study/'images', valid_col='is_valid', item_tfms=Resize(SIZE), batch_tfms=aug_transforms(), bs=BATCH, num_workers=2, device='cpu')
    timer = clock()
    learn = Learner(loaders, plain(name), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs + 1, cbs=timer)
    return timer.times[1:]


def ours(name, study, rows, epochs):
    from anklealign.training.recipes import Recipe, recipes
    from anklealign.training.train import dataloaders, fit, learner
    wanted = recipes[RECIPES[name]]
    recipe = Recipe('speed', name, size=SIZE, load=wanted.load, augmentation=wanted.augmentation, epochs=epochs + 1, batch_size=BATCH, lr=1e-4)
    timer, learn = clock(), learner(dataloaders(study, recipe, rows), recipe, 'auto')
    with learn.no_bar(), learn.no_logging(): fit(learn, recipe, [timer])
    return timer.times[1:]


def ceiling(name, study, rows, epochs):
    import torch

    from anklealign.training.callbacks import best_precision, keep_memory
    keep_memory()
    dtype = getattr(torch, best_precision())
    model = network(name).train().to(memory_format=torch.channels_last)
    x, y = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last), torch.arange(BATCH) % 3
    optimiser, times = torch.optim.Adam(model.parameters(), 1e-4, fused=True), []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        for _ in range((len(rows) - VALID)//BATCH):
            with torch.autocast('cpu', dtype, enabled=dtype != torch.float32): prediction = model(x)
            torch.nn.functional.cross_entropy(prediction.float(), y).backward()
            optimiser.step()
            optimiser.zero_grad()
        times.append(time.perf_counter() - start)
    return times[1:]


def one(way, name, where, epochs):
    "Runs in a process of its own; prints images a second of each epoch."
    study = Path(where)/'processed'
    rows = chosen(study)
    times = {'a': obvious, 'b': stock, 'c': ours, 'd': ceiling}[way](name, study, rows, epochs)
    print(json.dumps([(len(rows) - VALID)/t for t in times]))


def memory(process):
    "Peak resident memory of the process and its children until it ends, in MB; shared pages are counted once a process."
    peak, own = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try: peak = max(peak, sum(o.memory_info().rss for o in [own, *own.children(recursive=True)]))
        except psutil.NoSuchProcess: pass
        time.sleep(.05)
    return peak/1e6


def main(epochs, rounds, models):
    with tempfile.TemporaryDirectory() as where:
        _, rows = prepared(where)
        print(f'{len(rows) - VALID} synthetic pictures of 256 pixels, batches of {BATCH} at {SIZE} pixels, {epochs} epochs after a warm-up, {rounds} times in turns; images/s; '
              f'{machine()}')
        print(f'{"":34}{"median":>10}{"lowest":>9}{"highest":>9}{"peak MB":>9}{"of (a)":>8}{"of (d)":>8}')
        for name in models:
            found = {way: ([], 0) for way in WAYS}
            for way in [*WAYS]*rounds:
                process = subprocess.Popen([sys.executable, __file__, '--one', way, name, where, '--epochs', str(epochs)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                peak = memory(process)
                found[way] = found[way][0] + json.loads(process.stdout.read().splitlines()[-1]), max(peak, found[way][1])
            middle = {k: statistics.median(v) for k, (v, _) in found.items()}
            print(name)
            for way, (speeds, peak) in found.items():
                print(f'  ({way}) {WAYS[way]:28}{middle[way]:10.1f}{min(speeds):9.1f}{max(speeds):9.1f}{peak:9.0f}{middle[way]/middle["a"]:8.2f}{middle[way]/middle["d"]:8.2f}', flush=True)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    args = options(__doc__, epochs=5, rounds=3, models=list(RECIPES), one=dict(nargs=3, help=HIDDEN))
    if args.one: one(*args.one, args.epochs)
    else: main(args.epochs, args.rounds, args.models)
