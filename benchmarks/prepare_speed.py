"""Photos a second and peak memory of the pass over the pictures, against the obvious loop, in one run.

python benchmarks/prepare_speed.py [--n 200] [--megapixels 12]

The obvious loop opens each photo with Pillow, turns it by its EXIF, resizes it with LANCZOS and saves it, in one process.
Ours is `study.preprocess.check_new`: besides the resized picture it gives both digests' bytes, the fingerprint and the finding of damage.
The photos are generated (synthetic): upscaled noise with fine grain, a quarter of them sideways, saved at quality 90.
"""
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
from common import options, saved, timed
from PIL import Image, ImageOps

from anklealign.core import ImageSettings
from anklealign.images import PAD_COLOUR
from anklealign.study.files import walk
from anklealign.study.preprocess import check_new, staged_name

SIZE = 256


def psnr(a, b):
    "Peak signal-to-noise ratio of two pictures, in decibels."
    mse = np.mean((np.asarray(a, float) - np.asarray(b, float))**2)
    return 10*np.log10(255**2/mse) if mse else np.inf


def photo(i, megapixels):
    "One JPEG of about `megapixels`, with structure from coarse to fine."
    rng = np.random.default_rng(i)
    height = int((megapixels * 1e6 * 3 / 4)**.5) // 8 * 8
    size = (height * 4 // 3, height)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if i % 4 == 0: exif[0x0112] = 6
    return saved(Image.blend(coarse, fine, .15), quality=90, exif=exif)


def obvious(path, target):
    "What everybody writes first."
    im = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    im = ImageOps.pad(im, (SIZE, SIZE), method=Image.Resampling.LANCZOS, color=PAD_COLOUR)
    im.save(target, quality=95, subsampling=0)


class Peak:
    "Peak resident memory of this process and its children while the block runs, above what it was before."
    def __enter__(self):
        self.me, self.peak, self.stop = psutil.Process(), 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(.02):
            total = 0
            for p in [self.me, *self.me.children(recursive=True)]:
                try: total += p.memory_info().rss
                except psutil.NoSuchProcess: pass
            self.peak = max(self.peak, total)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def measure(n, megapixels):
    with tempfile.TemporaryDirectory() as d:
        raw, ours, theirs = (Path(d)/o for o in ('raw', 'ours', 'theirs'))
        for o in (raw, ours, theirs): o.mkdir()
        distinct = [photo(i, megapixels) for i in range(min(n, 40))]
        for i in range(n): (raw/f'{i:04}.jpg').write_bytes(distinct[i % len(distinct)])
        files = walk(raw)
        with Peak() as a: slow, _ = timed(lambda: [obvious(raw/f.path, theirs/f.path) for f in files])
        with Peak() as b: fast, found = timed(lambda: list(check_new(raw, files, ours, ImageSettings(size=SIZE))))
        assert len(found) == n and not any(o.reason for o in found)
        worst = min(psnr(Image.open(ours/staged_name(f.path)), Image.open(theirs/f.path)) for f in files)
    size = sum(map(len, distinct)) / len(distinct) / 1e6
    print(f'{n} synthetic JPEGs of {megapixels:g} megapixels ({size:.1f} MB each), {os.cpu_count()} cores')
    print(f'{"":14}{"photos/s":>10}{"seconds":>10}{"peak MB":>10}')
    print(f'{"obvious loop":14}{n / slow:10.1f}{slow:10.1f}{a.peak / 1e6:10.0f}')
    print(f'{"anklealign":14}{n / fast:10.1f}{fast:10.1f}{b.peak / 1e6:10.0f}')
    print(f'ratio {slow / fast:.1f}, worst PSNR between the two {worst:.1f} dB')


if __name__ == '__main__':
    measure(**vars(options(__doc__, n=200, megapixels=12.)))
