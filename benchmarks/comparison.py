"""What one command makes of a new study: is a verdict reached, how long does it take, and how much memory?

python benchmarks/comparison.py [--people 100] [--seed 2407] [--work comparison]   goes on where it was stopped

A raw study of four synthetic pictures (phantoms) a person, in both layouts and with all defects of `anklealign phantom`, is drawn with a seed that
nothing else here uses. Then `anklealign run RAW` runs on it, with the recipe that is the default, in a process of its own; time is that of the clock and
that of processors (all processes), memory the peak of what it and its children have in memory (resident), every 20 ms. Who is in a picture is
known from how it was drawn, not from what `prepare` thinks. `anklealign/results/comparison.txt` keeps what is printed.
"""
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path

import pandas as pd
from common import options
from memory import watched

from anklealign.phantom.study import make_study


def run(raw, output):
    "Seconds by the clock and of processors, and the peak of memory in MB."
    command = [sys.executable, '-c', 'from anklealign.app.cli import app; app()', 'run', str(raw), '--output', str(output)]
    with open(f'{output}.log', 'w') as said: code, seconds, cpu, peak = watched(.02, command, stdout=said, stderr=said)
    if code: raise SystemExit(f'exit code {code}: see {output}.log')
    return dict(seconds=seconds, cpu=cpu, peak=sum(peak), own=peak[0], date=str(date.today()))


def show(raw, output, cost):
    about, planted = json.loads((raw/'phantom.json').read_text()), pd.read_csv(raw/'planted.csv')
    people = pd.read_csv(raw/'phantom.csv').set_index('file').participant
    rows = pd.read_csv(output/'processed/metadata.csv')
    rows = rows.assign(person=rows.source.map(people))
    known, test = {*rows.person[rows.split == 'train']}, rows[rows.split == 'test']
    report = json.loads(next((output/'evaluation').glob('*/evaluation_report.json')).read_text())
    folds, alike = report['folds'], people[people.index.isin(rows.source)]
    print(f'A new study, synthetic pictures (phantoms): {about["pictures"]} files of {people.nunique()} people, seed {about["seed"]}, both layouts, '
          f'{len(planted)} injected defects; `anklealign run RAW`, recipe {report["recipe"]}')
    print(f'{cost["date"]}, {os.cpu_count()} cores shared with other work, {platform.machine()}, Python {platform.python_version()}\n')
    print(f'pictures with a label that a faultless reader would use: {about["best_reachable"]["study"]["n"]}; used {len(rows)}, of {alike.nunique()} people')
    print(f'test pictures that show a person of the training: {test.person.isin(known).sum()} of {len(test)}')
    print(f'\nverdict: {report["verdict"]}')
    print(f'the run itself on the test pictures: {report["summary"]}')
    print(f'the shipped model beside it: {report["shipped"]["verdict"]}')
    reached = bool(folds) and (folds['gain_over_majority']['balanced_accuracy']['low'] or 0) > 0 # a small study gets no folds
    print(f'\nshown to tell the classes apart: {"yes" if reached else "no"}')
    print(f'time: {cost["seconds"]:.0f} s by the clock, {cost["cpu"]:.0f} s of processors')
    print(f'peak of memory: {cost["peak"]:.0f} MB ({cost["own"]:.0f} MB its own, the rest pages of files)')


if __name__ == '__main__':
    given = options(__doc__, people=100, seed=2407, work=Path('comparison'))
    raw, output, kept = given.work/'raw', given.work/'output', given.work/'cost.json'
    if not raw.exists(): make_study(raw, n=4*given.people, seed=given.seed, workers=1)
    if not kept.exists(): kept.write_text(json.dumps(run(raw, output)))
    show(raw, output, json.loads(kept.read_text()))
