"""Time and memory of a training against the number of pictures.

python benchmarks/train_cost.py [--images 250 1000 4000]

Each size runs in a process of its own: `train` with the recipe `baseline` (TinyCNN, 224 pixels) in batches of 32, the second epoch of two, with
its validation and checkpoint; 'decoding' is all that comes before the first. Memory is the peak of the whole training: what belongs to the
process alone; the pixel store is a memory-mapped file, whose pages the system gives back when somebody else needs them (column 'mapped').
The pictures are synthetic: those of the study that ships with the package, repeated under new names.
"""
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from common import HIDDEN, machine, options


def status():
    "Resident memory of this process in MB: its own, and that of mapped files."
    lines = dict(o.split(':', 1) for o in Path('/proc/self/status').read_text().splitlines())
    return [int(lines[k].split()[0])/1e3 for k in ('RssAnon', 'RssFile')]


class Stamps(logging.Handler):
    "When each line was logged."
    def __init__(self):
        super().__init__()
        self.at = [('start', time.perf_counter())]
    def emit(self, record): self.at.append((record.getMessage(), time.perf_counter()))
    def before(self, word):
        "Seconds that went by before the line that begins with `word`, since the line before it."
        i = next(i for i, (said, _) in enumerate(self.at) if said.startswith(word))
        return self.at[i][1] - self.at[i - 1][1]


def one(images):
    import pandas as pd

    from anklealign.core import Settings
    from anklealign.data import prepare
    from anklealign.storage import demo_study
    from anklealign.study.manifest import read_manifest
    from anklealign.training.recipes import recipes
    from anklealign.training.train import train
    with tempfile.TemporaryDirectory() as where:
        study = prepare(demo_study(), where, Settings(output=where))
        known = read_manifest(study)
        rows = pd.concat([known.assign(image=[f'{i}-{o}' for o in known.image]) for i in range(-(-images//len(known)))]).iloc[:images]
        for name in rows.image: os.link(study/'images'/name.partition('-')[2], study/'images'/name)
        rows = rows.assign(split=['train']*(images - 32) + ['valid']*32).reset_index(drop=True)
        peak, stop, stamps, log = [0, 0], threading.Event(), Stamps(), logging.getLogger('anklealign')

        def watch():
            while not stop.wait(.02): peak[:] = map(max, peak, status())

        threading.Thread(target=watch, daemon=True).start()
        log.addHandler(stamps)
        log.setLevel(logging.INFO)
        train(study, Path(where)/'run', replace(recipes['baseline'], batch_size=32, epochs=2), rows=rows)
        stop.set()
        print(json.dumps([stamps.before('recipe'), stamps.before('2/2'), *peak]))


def main(sizes):
    print(f'synthetic pictures, TinyCNN, 224 pixels, batches of 32; {machine()}')
    print(f'{"pictures":>9}{"decoding s":>12}{"ms each":>9}{"epoch s":>9}{"ms each":>9}{"own MB":>9}{"mapped MB":>11}')
    for n in sizes:
        said = subprocess.run([sys.executable, __file__, '--one', str(n)], capture_output=True, text=True, check=True).stdout
        decoded, epoch, own, mapped = json.loads(said.splitlines()[-1])
        print(f'{n:9}{decoded:12.2f}{1e3*decoded/n:9.2f}{epoch:9.2f}{1e3*epoch/n:9.2f}{own:9.0f}{mapped:11.0f}', flush=True)


if __name__ == '__main__':
    args = options(__doc__, images=[250, 1000, 4000], one=dict(type=int, help=HIDDEN))
    if args.one: one(args.one)
    else: main(args.images)
