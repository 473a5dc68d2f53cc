"""Time and memory of a training against the number of pictures.

python benchmarks/train_cost.py [--images 250 1000 4000]

Each size runs in a process of its own: TinyCNN, one epoch after a warm-up, 224 pixels, batches of 32. Memory is what belongs to the process
alone; the pixel store is a memory-mapped file, whose pages the system gives back when somebody else needs them (column 'mapped').
The pictures are synthetic: those of the study that ships with the package, repeated under new names.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def status():
    "Resident memory of this process in MB: its own, and that of mapped files."
    lines = dict(o.split(':', 1) for o in Path('/proc/self/status').read_text().splitlines())
    return [int(lines[k].split()[0])/1e3 for k in ('RssAnon', 'RssFile')]


def one(images):
    import pandas as pd

    from anklealign.core import Settings
    from anklealign.data import prepare
    from anklealign.manifest import read_manifest
    from anklealign.rawstudy import demo_study
    from anklealign.recipe import recipes
    from anklealign.training import dataloaders, learner
    with tempfile.TemporaryDirectory() as where:
        study = prepare(demo_study(), where, Settings(output=where))
        known = read_manifest(study)
        rows = pd.concat([known.assign(image=[f'{i}-{o}' for o in known.image]) for i in range(-(-images//len(known)))]).iloc[:images]
        for name in rows.image: os.link(study/'images'/name.partition('-')[2], study/'images'/name)
        rows = rows.assign(split=['train']*(images - 32) + ['valid']*32).reset_index(drop=True)
        start, peak, stop = time.perf_counter(), [0, 0], threading.Event()

        def watch():
            while not stop.wait(.02): peak[:] = map(max, peak, status())

        threading.Thread(target=watch, daemon=True).start()
        learn = learner(dataloaders(study, recipes['baseline'], rows), recipes['baseline'], 'auto')
        learn.dls.train.bs = 32
        decoded = time.perf_counter() - start
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
            start = time.perf_counter()
            learn.fit(1)
        print(json.dumps([decoded, time.perf_counter() - start, *peak]))
        stop.set()


def main(sizes):
    print(f'synthetic pictures, TinyCNN, 224 pixels, batches of 32; {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime("%Y-%m-%d")}')
    print(f'{"pictures":>9}{"decoding s":>12}{"ms each":>9}{"epoch s":>9}{"ms each":>9}{"own MB":>9}{"mapped MB":>11}')
    for n in sizes:
        said = subprocess.run([sys.executable, __file__, '--one', str(n)], capture_output=True, text=True, check=True).stdout
        decoded, epoch, own, mapped = json.loads(said.splitlines()[-1])
        print(f'{n:9}{decoded:12.2f}{1e3*decoded/n:9.2f}{epoch:9.2f}{1e3*epoch/n:9.2f}{own:9.0f}{mapped:11.0f}', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs='*', default=[250, 1000, 4000])
    parser.add_argument('--one', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one: one(args.one)
    else: main(args.images)
