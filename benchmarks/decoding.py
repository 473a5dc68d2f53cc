"""How long the slowest pictures keep a core that come past the checks before decoding: 20 MB, 50 megapixels.

python benchmarks/decoding.py   `anklealign/results/decoding.txt` keeps what is printed
"""
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from common import busy, saved, timed
from PIL import Image

from anklealign.app.middleware import check_photo
from anklealign.images import open_picture

sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from malformed import png

WIDE, HIGH, BYTES = 7_000, 7_100, 20e6
flat, noise = Image.new('RGB', (WIDE, HIGH), 'teal'), Image.fromarray(np.random.default_rng(1).integers(0, 256, (700, 700, 3), dtype=np.uint8))


def painted(jpeg, passes):
    "A progressive JPEG whose longest pass is painted again and again."
    starts = [i for i in range(len(jpeg)) if jpeg.startswith(b'\xff\xda', i)] + [len(jpeg) - 2]
    longest = max((jpeg[a:b] for a, b in zip(starts, starts[1:], strict=False)), key=len)
    return jpeg[:-2] + longest*min(passes - len(starts) + 1, int((BYTES - len(jpeg))/len(longest))) + b'\xff\xd9'


def pictures():
    "Kind, file, and how often it would fit into the bounds."
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (2_200, 2_200, 3), dtype=np.uint8))
    yield 'JPEG, 100 passes of noise', painted(saved(small, 'JPEG', progressive=True, quality=10), 100), 1
    yield 'JPEG, 10 passes', saved(flat, 'JPEG', progressive=True), 1
    yield 'PNG, interlaced, 16 bits', png(6_900, 6_900, 16, 6, zlib.compress(bytes((1 + 6_900*8)*6_900), 9)), 1
    yield 'PNG, filtered', png(WIDE, HIGH, 8, 2, zlib.compress((b'\4' + bytes(WIDE*3))*HIGH, 9)), 1
    for o in ('tiff_lzw', 'tiff_deflate', 'jpeg', 'group4'): yield f'TIFF, {o}', saved(flat.convert('1') if o == 'group4' else flat, 'TIFF', compression=o), 1
    for kind, kw in (('WEBP', {'quality': 95}), ('HEIF', {'quality': 20}), ('HEIF', {'quality': 95}), ('AVIF', {'quality': 95, 'speed': 9})):
        data = saved(noise, kind, **kw)
        yield f'{kind} of noise, quality {kw["quality"]}', data, min(BYTES/len(data), WIDE*HIGH/(noise.width*noise.height))


def looked_at(data):
    check_photo(data, 50)
    open_picture(data, 768, 50)


if __name__ == '__main__':
    print(f'{busy()}; seconds of one core, checks included; "×": measured on a part of that\n\n{"kind":30}{"MB":>6}{"seconds":>9}')
    for kind, data, times in pictures():
        took, _ = timed(looked_at, data, clock=time.process_time)
        print(f'{kind:30}{times*len(data)/1e6:6.1f}{times*took:9.2f}{f"  × {times:.0f}" if times > 1 else ""}')
