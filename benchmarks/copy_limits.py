"""How many changed copies of the shipped study's pictures near_duplicates and the leakage audit find, and how many people they join.

python benchmarks/copy_limits.py

The pictures are synthetic (phantoms) and were not looked at when the limits were chosen. Different people stand in different rooms here,
which is the easier case; the audit sees each change against the originals, as two splits.
"""
import csv
import io
import re
import zipfile
from itertools import combinations

import numpy as np
import pandas as pd
from common import saved
from PIL import Image, ImageEnhance, ImageOps

from anklealign.images import PictureError, open_picture, square, unpadded
from anklealign.storage import demo_study
from anklealign.study.splits import audit, fingerprint, near_duplicates


def again(im, quality): return Image.open(io.BytesIO(saved(im, quality=quality))).convert('RGB')


def cropped(im, share):
    x, y = (round(o * share) for o in im.size)
    return im.crop((x, y, im.width - x, im.height - y))


CHANGES = {'saved at q 60': lambda o: again(o, 60), 'saved at q 30': lambda o: again(o, 30), 'half size': lambda o: o.resize((o.width // 2, o.height // 2)),
           'brighter by 30 %': lambda o: ImageEnhance.Brightness(o).enhance(1.3), 'darker by 30 %': lambda o: ImageEnhance.Brightness(o).enhance(.7),
           'contrast by 40 %': lambda o: ImageEnhance.Contrast(o).enhance(1.4), '1 % off each edge': lambda o: cropped(o, .01),
           '2 % off each edge': lambda o: cropped(o, .02), 'mirrored, q 60': lambda o: again(ImageOps.mirror(o), 60)}


def pictures():
    "The unspoiled pictures of the shipped study, and who stands in them."
    with zipfile.ZipFile(demo_study()) as z:
        for o in csv.DictReader(io.StringIO(z.read('phantom.csv').decode())):
            if not re.search(r'_\d\d\.jpg$', o['file']): continue
            try: im = open_picture(z.read(o['file'])).image
            except PictureError: continue
            if min(im.size) >= 240: yield im, o['participant']


def audited(a, b):
    "Which pictures of `a` the audit finds again in the same places of `b`, and all pairs it hits."
    shown = {f'{k}{i}': unpadded(square(o), *o.size) for k, part in (('a', a), ('b', b)) for i, o in enumerate(part)}
    hits, _ = audit(pd.DataFrame({'image': list(shown), 'split': ['train']*len(a) + ['test']*len(b)}), np.stack([fingerprint(o) for o in shown.values()]))
    pairs = {tuple(sorted((x, y))) for x, y in zip(hits.image_a, hits.image_b, strict=True)}
    return {(int(x[1:]), int(y[1:])) for x, y in pairs}


def main():
    originals, people = zip(*pictures(), strict=True)
    n, marks = len(originals), np.stack([fingerprint(o) for o in originals])
    joined = [(i, j) for i, j in near_duplicates(marks) if people[i] != people[j]]
    different = sum(a != b for a, b in combinations(people, 2))
    found = f'{different:,} pairs of different people, {len(joined)} joined by near_duplicates'
    print(f'{n} synthetic pictures of {len(set(people))} people; {found}')
    print(f'{"change":20}{"duplicates":>14}{"audit":>14}{"others hit":>12}')
    for name, change in CHANGES.items():
        changed = [change(o) for o in originals]
        found = {(i, j - n) for i, j in near_duplicates(np.concatenate([marks, [fingerprint(o) for o in changed]])) if i < n <= j}
        hits = audited(originals, changed)
        others = sum(people[i] != people[j] for i, j in hits)
        print(f'{name:20}{sum((i, i) in found for i in range(n)):>8}/{n}{sum((i, i) in hits for i in range(n)):>10}/{n}{others:>12}', flush=True)


if __name__ == '__main__': main()
