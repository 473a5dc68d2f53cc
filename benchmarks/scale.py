"""Seconds, time a picture and peak memory of `prepare`, step by step, for studies of more and more pictures.

python benchmarks/scale.py [--sizes 10000 100000] [--place FOLDER]

The raw study is generated (synthetic): smooth noise of 32 × 24 pixels, four pictures of each person, 2,000 a folder with an export of its
own, an annotation a picture and three where it is one in twenty, by 50 annotators. One picture in a hundred is a copy of another one, byte for byte, and one is another one saved again.
Each size has a process of its own, which decodes by itself; its seconds are those in which it had a core. Steps that are set in are part of the step above. Peak memory is that of the
process while the step runs, with what the steps before have left.
"""
import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from anklealign import data
from anklealign.core import ImageSettings, Settings
from anklealign.study import account, preprocess

FOLDER = 2000 # pictures a folder
STEPS = {'read': data, 'match': data, 'check': data, 'look_at': preprocess, 'find_duplicates': preprocess, 'label': data, 'group': data,
         'split': data, 'write': data, 'gather': account, 'audit': account, 'annotator_tables': account, 'make_report': account,
         'report_markdown': account, '_as_json': account}


def jpeg(seed, quality=90):
    "A tiny picture."
    out, pixels = io.BytesIO(), np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((32, 24), Image.Resampling.BICUBIC).save(out, 'JPEG', quality=quality)
    return out.getvalue()


def raw_study(n, root):
    "A raw folder of `n` pictures and `n` annotations."
    words = '1_Pronacio', '2_Neutralis', '3_Szupinacio'
    for first in range(0, n, FOLDER):
        folder, tasks = root/f'D{first//FOLDER:04}F', []
        folder.mkdir(parents=True)
        for i in range(first, min(n, first + FOLDER)):
            name, kind = f'sajat_resztvevo{i//4:07}_{i % 4}.jpg', i % 100
            (folder/name).write_bytes(jpeg(max(i - FOLDER//2, 0) if kind in (0, 1) else i, 80 if kind == 1 else 90))
            result = [{'type': 'choices', 'from_name': 'label', 'to_name': 'image', 'value': {'choices': [words[i//4 % 3]]}}]
            notes = [{'id': 3*i + k, 'completed_by': (first//FOLDER + k) % 50, 'created_at': f'2025-10-01T10:00:0{k}.123456Z', 'was_cancelled': False,
                      'result': result} for k in range(1 if i % 20 else 3)]
            tasks.append({'id': i, 'data': {'image': f'/data/upload/1/{i:08x}-{name}'}, 'annotations': notes})
        (folder/'export.json').write_text(json.dumps(tasks))


def peak(): # of this process since it was last asked, in MB
    found = next(int(o.split()[1])/1000 for o in Path('/proc/self/status').read_text().splitlines() if o.startswith('VmHWM'))
    Path('/proc/self/clear_refs').write_text('5')
    return found


def timed(name, step, found, depth):
    "`step`, whose seconds and peak memory are kept."
    def inner(*args, **kwargs):
        outer, depth[0] = max(found.get('most', 0), peak()), depth[0] + 1
        place = found.setdefault(name, {'depth': depth[0], 'seconds': 0, 'peak': 0}) # in the order in which they begin
        start = time.process_time()
        try: return step(*args, **kwargs)
        finally:
            place['seconds'] += time.process_time() - start
            place['peak'] = max(place['peak'], peak())
            found['most'], depth[0] = max(outer, place['peak']), depth[0] - 1
    return inner


def one(n, place):
    "The steps of `prepare`: their depth, seconds and peak memory."
    found, depth = {}, [-1]
    for name, module in STEPS.items(): setattr(module, name, timed(name, getattr(module, name), found, depth))
    start = time.process_time()
    data.prepare(place/'raw', place/'output', Settings(images=ImageSettings(size=32, workers=1)))
    whole = {'depth': 0, 'seconds': time.process_time() - start, 'peak': max(found.pop('most'), peak())}
    sums = json.loads((place/'output/processed/report.json').read_text())['images']
    assert sums['found'] == n, sums
    return found | {'all': whole, 'sums': sums}


def table(results):
    lines = [f'{"CPU seconds":22}' + ''.join(f'{f"n = {n:,}":>14}{"µs each":>9}{"peak MB":>9}' for n in results)]
    for name in next(iter(results.values())):
        if name == 'sums': continue
        steps = [o[name] for o in results.values()]
        cells = ''.join(f'{o["seconds"]:12.1f} s{o["seconds"]/n*1e6:9.0f}{o["peak"]:9.0f}' for n, o in zip(results, steps, strict=True))
        lines.append(f'{"  "*steps[0]["depth"] + name:22}' + cells)
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', default=[10_000, 100_000])
    parser.add_argument('--place', type=Path, help='folder for the studies, kept; else a temporary one')
    parser.add_argument('--child', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child: return print(json.dumps(one(args.child, args.place)))
    results = {}
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as d:
            place = (args.place or Path(d))/str(n)
            if not (place/'raw').exists(): raw_study(n, place/'raw')
            said = subprocess.run([sys.executable, __file__, '--child', str(n), '--place', place], stdout=subprocess.PIPE, text=True, check=True)
        results[n] = json.loads(said.stdout.splitlines()[-1])
        print(f'{n:,} pictures:', ', '.join(f'{v:,} {k}' for k, v in results[n]['sums'].items()), flush=True)
    print(table(results))


if __name__ == '__main__': main()
