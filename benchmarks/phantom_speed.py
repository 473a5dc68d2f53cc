"""Synthetic pictures a second, on one core and on all, and how their colours, edges and shapes lie beside those of photographs.

python benchmarks/phantom_speed.py [--n 100] [--size 320] [--folders PICTURES …]

FOLDERS of other pictures are measured beside them. The photographs whose figures stand here were held elsewhere.
"""
import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import sobel

from anklealign.phantom.picture import write_pictures

LONG, EDGE = 320, 66. # pixels of the long side when measured; Sobel magnitude from which an edge is strong
PHOTOGRAPHS = dict(aspect='.75 to 2.3', saturation='75', saturation_p90='142', bright_p99='217', edges='.12') # 83 photographs


def figures(path):
    "What is compared, of one picture."
    image = Image.open(path).convert('RGB')
    aspect = image.width/image.height
    image.thumbnail((LONG, LONG))
    saturation, grey = np.asarray(image.convert('HSV'))[..., 1], np.asarray(image.convert('L'), float)
    edges = np.hypot(sobel(grey, 0), sobel(grey, 1)) > EDGE
    return dict(aspect=aspect, saturation=np.median(saturation), saturation_p90=np.quantile(saturation, .9),
                bright_p99=np.quantile(grey, .99), edges=edges.mean())


def column(folder):
    "Median of the pictures of a folder, and 10th to 90th percentile between them."
    rows = [figures(o) for o in sorted([*Path(folder).glob('*.jpg'), *Path(folder).glob('0*.png')][:400]) if o.suffix == '.jpg']
    marks = {k: np.quantile([o[k] for o in rows], [.5, .1, .9]) for k in rows[0]}
    return {'n': str(len(rows))} | {k: '{:.3g} ({:.3g} to {:.3g})'.format(*v) for k, v in marks.items()}


def drawn(folder, n, size, workers):
    "Pictures a second."
    start = time.perf_counter()
    write_pictures(folder, n, seed=5, size=size, workers=workers)
    return n/(time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=100)
    parser.add_argument('--size', type=int, default=320)
    parser.add_argument('--folders', type=Path, nargs='*', default=[])
    given, cores = parser.parse_args(), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as every:
        start = time.perf_counter()
        write_pictures(one, 1, seed=5, size=given.size, workers=1)
        first = time.perf_counter() - start
        speeds = {1: drawn(one, given.n + 1, given.size, 1), cores: drawn(every, given.n, given.size, cores)}
        same = [(Path(one)/f'{i:06d}.jpg').read_bytes() == (Path(every)/f'{i:06d}.jpg').read_bytes() for i in range(given.n)]
        assert all(same), 'the number of processes changed the pictures'
        columns = {'photographs (n = 83)': PHOTOGRAPHS, 'phantoms': column(every)} | {o.name: column(o) for o in given.folders}
    print(f'{given.n} pictures of {given.size} px; {platform.machine()}, {cores} cores, Python {platform.python_version()}; '
          f'the first picture after {first:.1f} s; times include starting the processes')
    print(f'{"workers":>8} {"images/s":>9} {"ratio":>6}')
    for workers, speed in speeds.items(): print(f'{workers:>8} {speed:>9.1f} {speed/speeds[1]:>6.2f}')
    print(f'\n{"median (10th to 90th percentile)":<34}' + ''.join(f'{o:>28}' for o in columns))
    for k in columns['phantoms']: print(f'{k:<34}' + ''.join(f'{o.get(k, ""):>28}' for o in columns.values()))


if __name__ == '__main__':
    main()
