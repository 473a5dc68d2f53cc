"""`anklealign predict` over a folder of 12-megapixel JPEGs against the loop that one writes first, in turns in one run; so read the ratios.

python benchmarks/predict_speed.py [--photos 200] [--rounds 3]

Each way is a process of its own that answers the whole folder; what it takes to start is measured with a folder of one and taken off. The loop:
open with Pillow, turn by EXIF, pad, divide by 255, the network of the same recipe in eager PyTorch, with two threads where it can use them. It looks
at 384 pixels, `predict` at 576, and checks quality, strangeness and heels besides. A third way only decodes every JPEG at full size on one core, and
`draft` at the scale that `predict` takes: what no program with this decoder does without. Photos are generated (synthetic).
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import HIDDEN, busy, options
from PIL import Image, ImageOps
from prepare_speed import photo

COMMAND = str(Path(sys.executable).with_name('anklealign'))


def loop(folder):
    import numpy as np
    import torch

    from anklealign.training.recipes import models, recipes
    torch.set_num_threads(os.cpu_count())
    recipe = recipes['measured']
    model = models[recipe.model](recipe).eval()
    for path in sorted(Path(folder).iterdir()):
        image = ImageOps.pad(ImageOps.exif_transpose(Image.open(path)).convert('RGB'), (recipe.size, recipe.size))
        with torch.inference_mode(): print(path.name, *model(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()/255).softmax(1)[0].tolist())


def decode(folder, size=None):
    for path in sorted(Path(folder).iterdir()):
        with Image.open(path) as im:
            if size: im.draft('RGB', (size, size))
            im.load()


WAYS = {'predict': [COMMAND, 'predict', '--csv'], **{o: [sys.executable, __file__, '--way', o] for o in ('loop', 'decode', 'draft')}}


def took(way, folder):
    "Seconds, and seconds of processor time, of a process."
    start, before = time.perf_counter(), os.times()
    subprocess.run([*WAYS[way], str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return time.perf_counter() - start, after.children_user + after.children_system - before.children_user - before.children_system


def main(n, rounds):
    found = {o: [] for o in WAYS}
    with tempfile.TemporaryDirectory() as d:
        for name, many in (('one', 1), ('all', n)):
            (Path(d)/name).mkdir()
            for i in range(many): (Path(d)/name/f'{i:04}.jpg').write_bytes(photo(i, 12))
        print(f'{busy()}; {n} photos, {rounds} rounds; milliseconds a photo', flush=True)
        for _ in range(rounds):
            for way, so_far in found.items():
                one, whole = took(way, Path(d)/'one'), took(way, Path(d)/'all')
                so_far.append([1000*(b - a)/(n - 1) for a, b in zip(one, whole, strict=True)])
    print(f'{"":10}{"passed":>10}{"processor":>12}{"photos/s":>10}')
    for way, o in found.items():
        passed, cpu = map(statistics.median, zip(*o, strict=True))
        print(f'{way:10}{passed:10.1f}{cpu:12.1f}{1000/passed:10.1f}')
    for i, name in enumerate(('time passed', 'processor time')):
        ratios = [b[i]/a[i] for a, b in zip(found['predict'], found['loop'], strict=True)]
        print(f'loop / predict, {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})')


if __name__ == '__main__':
    args = options(__doc__, photos=200, rounds=3, way=dict(nargs=2, help=HIDDEN))
    if args.way: {'loop': loop, 'decode': decode, 'draft': lambda folder: decode(folder, 1152)}[args.way[0]](args.way[1])
    else: main(args.photos, args.rounds)
