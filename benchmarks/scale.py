"""Seconds and peak memory of `prepare`, step by step, for studies of more and more pictures.

python benchmarks/scale.py [--sizes 10000 100000]

What grows with the study is measured, and nothing else: exports are read, but the pictures are not there. What one look at each would have
found, and its processed picture, is drawn (synthetic): descriptors that fall off as those of photographs do. `prepare_speed.py` measures the
looking, which takes the same time for each picture. Four pictures of each person, 2,000 a folder with an export of its own; an annotation a
picture, and three where it is one in twenty, by 50 annotators. One picture in a hundred is a copy of another one, byte for byte, and one is
another one saved again. Each size has a process of its own; its seconds are those in which it had a core. Steps that are set in are part
of the step above. Peak memory is that of the process while the step runs, with what the steps before have left.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import HIDDEN, options

from anklealign import data
from anklealign.core import ImageSettings, Settings
from anklealign.study import manifest, preprocess
from anklealign.study.files import RawFile, walk
from anklealign.study.preprocess import Checked, image_spec
from anklealign.study.splits import as_text

FOLDER = 2000 # pictures a folder
STEPS = {'read': data, 'match': data, 'check': data, 'find_duplicates': preprocess, 'label': data, 'group': data, 'split': data, 'write': data,
         '_audited': data, 'annotator_tables': data, 'make_report': data, 'report_markdown': data, '_as_json': data}


def name_of(i): return f'D{i//FOLDER:04}F/sajat_resztvevo{i//4:07}_{i % 4}.jpg'


def raw_study(n, root):
    "The exports of `n` pictures."
    words = '1_Pronacio', '2_Neutralis', '3_Szupinacio'
    for first in range(0, n, FOLDER):
        folder, tasks = root/f'D{first//FOLDER:04}F', []
        folder.mkdir(parents=True)
        for i in range(first, min(n, first + FOLDER)):
            name = name_of(i).partition('/')[2]
            result = [{'type': 'choices', 'from_name': 'label', 'to_name': 'image', 'value': {'choices': [words[i//4 % 3]]}}]
            notes = [{'id': 3*i + k, 'completed_by': (first//FOLDER + k) % 50, 'created_at': f'2025-10-01T10:00:0{k}.123456Z', 'was_cancelled': False,
                      'result': result} for k in range(1 if i % 20 else 3)]
            tasks.append({'id': i, 'data': {'image': f'/data/upload/1/{i:08x}-{name}'}, 'annotations': notes})
        (folder/'export.json').write_text(json.dumps(tasks))


def drawn(n):
    "The descriptors of `n` pictures, some of them copies."
    rng, found, fall = np.random.default_rng(n), np.empty((n, 16, 16), np.float16), 1/np.maximum(np.hypot(*np.indices((16, 16))), 1)**1.5
    for some in np.array_split(np.arange(n), n//1000 + 1):
        x = rng.normal(size=(len(some), 16, 16))*fall
        x[:, 0, 0] = 0
        found[some] = x/np.linalg.norm(x, axis=(1, 2), keepdims=True)
    at = np.arange(n)
    for kind in (0, 1): found[at % 100 == kind] = found[np.maximum(at[at % 100 == kind] - FOLDER//2, 0)//100*100 + 2]
    found[at % 100 == 1, 15, 15] += np.float16(.01)
    return found


def without_pictures(n, settings):
    "Let `prepare` believe that the pictures are there."
    stack, spec, which = drawn(n), image_spec(settings.images), {name_of(i): i for i in range(n)}
    def looked(root, files, stage, *_):
        stage.journal.write_bytes(b'')
        same = lambda i: max(i - FOLDER//2, 0)//100*100 + 2 if i % 100 == 0 else i
        return [Checked(o.path, o.size, o.mtime, spec, '', 4000, 3000, f'{same(i):064x}', f'{i:016x}', as_text(stack[i])[1], f'{i:064x}')
                for o in files if (i := which[o.path]) >= 0]
    manifest.walk = lambda root: sorted([*walk(root), *(RawFile(o, 'image', 10**6, i) for o, i in which.items())], key=lambda o: o.path)
    preprocess.look_at = looked
    data.gather = lambda study, manifest, stage, folder, settings: folder.mkdir(parents=True)
    data.Image = SimpleNamespace(open=lambda file: SimpleNamespace(convert=lambda mode: file))
    data.unpadded = lambda file, *_: file
    data.fingerprint = lambda file: stack[which['/'.join(file.name.rpartition('.')[0].split('__')) + '.jpg']]
    data.PLOTS.pop('quality.png') # which shows some of them


def peak(): # of this process since it was last asked, in MB
    found = next(int(o.split()[1])/1000 for o in Path('/proc/self/status').read_text().splitlines() if o.startswith('VmHWM'))
    Path('/proc/self/clear_refs').write_text('5')
    return found


def timed(name, step, found, peaks):
    "`step`, whose seconds and peak memory are kept; `peaks` holds those of the steps around it."
    def inner(*args, **kwargs):
        place, before = found.setdefault(name, {'depth': len(peaks) - 1, 'seconds': 0, 'peak': 0}), peak() # in the order in which they begin
        peaks[-1] = max(peaks[-1], before)
        peaks.append(0)
        start = time.process_time()
        try: return step(*args, **kwargs)
        finally:
            place['seconds'] += time.process_time() - start
            place['peak'] = max(place['peak'], peaks.pop(), peak())
            peaks[-1] = max(peaks[-1], place['peak'])
    return inner


def one(n, place):
    "The steps of `prepare`: their depth, seconds and peak memory."
    found, peaks, settings = {}, [0], Settings(images=ImageSettings(workers=1))
    without_pictures(n, settings)
    for name, module in STEPS.items(): setattr(module, name, timed(name, getattr(module, name), found, peaks))
    start = time.process_time()
    data.prepare(place/'raw', place/'output', settings)
    whole = {'depth': 0, 'seconds': time.process_time() - start, 'peak': max(*peaks, peak())}
    sums = json.loads((place/'output/processed/report.json').read_text())['images']
    assert sums['found'] == n, sums
    return found | {'all': whole, 'sums': sums}


def table(results):
    lines = [f'{"CPU seconds":22}' + ''.join(f'{f"n = {n:,}":>14}{"µs each":>9}{"peak MB":>9}' for n in results)]
    for name in next(iter(results.values())):
        steps = [o[name] for o in results.values()]
        cells = ''.join(f'{o["seconds"]:12.1f} s{o["seconds"]/n*1e6:9.0f}{o["peak"]:9.0f}' for n, o in zip(results, steps, strict=True))
        lines.append(f'{"  "*steps[0]["depth"] + name:22}' + cells)
    return '\n'.join(lines)


def main():
    args = options(__doc__, sizes=[10_000, 100_000], child=dict(type=Path, help=HIDDEN))
    if args.child: return print(json.dumps(one(*args.sizes, args.child)))
    results = {}
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as d:
            raw_study(n, Path(d)/'raw')
            said = subprocess.run([sys.executable, __file__, '--sizes', str(n), '--child', d], stdout=subprocess.PIPE, text=True, check=True)
        results[n] = json.loads(said.stdout.splitlines()[-1])
        print(f'{n:,} pictures:', ', '.join(f'{v:,} {k}' for k, v in results[n].pop('sums').items()), flush=True)
    print(table(results))


if __name__ == '__main__': main()
