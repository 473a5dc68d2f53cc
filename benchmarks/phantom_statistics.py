"""Colour, contrast, edges and shape of phantoms beside photographs of heels, and beside the first generation of phantoms.

python benchmarks/phantom_statistics.py [FOLDER …] [--n 120]

Each picture is brought to 320 pixels on its long side. Saturation and brightness are bytes, an edge is strong from a Sobel magnitude of 66.
The first generation is that of the shipped study, drawn with OpenGL. The photographs, 83 of people's own heels from behind, belong to others:
their medians are kept here as they were measured once. Folders of other pictures are measured too.
"""
import csv
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from common import machine, options
from PIL import Image
from scipy.ndimage import sobel

from anklealign.phantom.picture import make_phantoms, write_pictures
from anklealign.storage import demo_study

LONG, EDGE = 320, 66.
ROWS = {'aspect': 'width / height', 'saturation': 'saturation, median pixel', 'bright_p99': 'brightness, 99th percentile',
        'edges': 'share of strong edges'}
PHOTOGRAPHS = {'aspect': '.75–2.3', 'saturation': '75 (–142)', 'bright_p99': '217', 'edges': '.12'} # n = 83


def figures(image):
    "What is compared, of one picture."
    image = image.convert('RGB')
    aspect = image.width/image.height
    image.thumbnail((LONG, LONG))
    saturation, grey = np.asarray(image.convert('HSV'))[..., 1], np.asarray(image.convert('L'), float)
    edges = np.hypot(sobel(grey, 0), sobel(grey, 1)) > EDGE
    return dict(aspect=aspect, saturation=np.median(saturation), bright_p99=np.quantile(grey, .99), edges=edges.mean())


def shipped():
    with zipfile.ZipFile(demo_study()) as z:
        odd = {o['item'] for o in csv.DictReader(io.StringIO(z.read('planted.csv').decode()))} # spoilt on purpose
        for o in csv.DictReader(io.StringIO(z.read('phantom.csv').decode())):
            if o['file'] not in odd and o['file'] in z.namelist(): yield Image.open(io.BytesIO(z.read(o['file'])))


def opened(folder):
    for path in sorted(Path(folder).glob('*.jpg')): yield Image.open(path)


def text(value): return f'{value:.0f}' if value >= 10 else f'{value:.2f}'.removeprefix('0')


def column(pictures):
    "Median of the pictures, and 10th to 90th percentile between them, for each figure; and how many pictures."
    rows = [figures(o) for o in pictures]
    marks = {k: np.quantile([o[k] for o in rows], [.5, .1, .9]) for k in ROWS}
    return {k: '{} ({}–{})'.format(*map(text, v)) for k, v in marks.items()}, len(rows)


def main():
    args = options(__doc__, ('folders', dict(nargs='*')), n=120)
    with tempfile.TemporaryDirectory() as work:
        columns = {'first generation': column(shipped()), 'of a study': column(o.image for o in make_phantoms(args.n, 1)),
                   'to learn from': column(opened(write_pictures(work, args.n)))}
    columns |= {Path(o).name: column(opened(o)) for o in args.folders}
    print(f'{machine()}:  python benchmarks/phantom_statistics.py')
    print('median of the pictures (10th to 90th percentile between them; of the photographs what was noted); phantoms are synthetic')
    print(f'{"":30}{"photographs":>14}' + ''.join(f'{o:>20}' for o in columns))
    print(f'{"n":30}{83:>14}' + ''.join(f'{n:>20}' for _, n in columns.values()))
    for k, name in ROWS.items(): print(f'{name:30}{PHOTOGRAPHS[k]:>14}' + ''.join(f'{o[k]:>20}' for o, _ in columns.values()))


if __name__ == '__main__':
    main()
