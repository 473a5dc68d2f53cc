"""`anklealign protocols`, end to end on a drawn study."""
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import content, write_study

SMALL = {'ANKLEALIGN_TRAIN_SIZE': '32', 'ANKLEALIGN_TRAIN_EPOCHS': '1', 'ANKLEALIGN_IMAGES_SIZE': '64', 'ANKLEALIGN_EVALUATE_ROUNDS': '200'}
FEW = ['--repeats', '1', '--folds', '2']
FILES = {'protocols.json', 'protocols.md', 'protocols.csv', 'report.html', 'split_answers.csv', 'folds_answers.csv', 'owners_answers.csv'}


def test_all_of_it_and_the_figures_agree_with_the_answers(prepared, ankle):
    shown = ankle('protocols', *FEW, **SMALL).stdout
    where = prepared/'output/protocols/baseline-quick'
    assert {o.name for o in where.iterdir()} == FILES and not (prepared/'output/models').exists()
    report = json.loads((where/'protocols.json').read_text())
    assert report['summary'] in shown and 'trainings: 13 of 13' in shown and '1/1 ' not in shown
    page = (where/'report.html').read_text()
    assert report['summary'].partition(': ')[2] in page and 'What a leaky split would have claimed' in page
    for name, line in (('split', 'test split'), ('folds', 'repeated folds'), ('owners', 'all owners')):
        rows = list(csv.DictReader((where/f'{name}_answers.csv').open()))
        right = sum(o['predicted'] == o['label'] for o in rows) / len(rows)
        assert abs(report['protocols'][name][line]['accuracy'] - right) < 1e-6 and report['protocols'][name][line]['images'] == len(rows)
    lines = list(csv.DictReader((where/'protocols.csv').open()))
    assert all(o['images'] and o['groups'] and o['kind'] for o in lines) and {o['protocol'] for o in lines} == {'split', 'folds', 'owners', 'naive'}


def test_one_sentence_and_nothing_left(prepared, ankle):
    error = ankle('protocols', '--only', 'folds', '--folds', '7', code=1, **SMALL).stderr
    assert '7 splits' in error and error.count('\n') == 1
    assert not (prepared/'output/protocols').exists()


def test_one_owner_has_the_rest(ankle, tmp_path):
    ankle('prepare', write_study(tmp_path/'one', owners=['D6AE9F'], people=12), **SMALL)
    shown = ankle('protocols', *FEW, '--only', 'owners', '--only', 'split', **SMALL).stdout
    assert 'Not done: owner left out. All ' in shown and 'have one owner' in shown


@pytest.mark.slow
def test_interrupted_leaves_what_was_there(prepared, ankle):
    before = content(prepared/'output')
    process = subprocess.Popen([Path(sys.executable).with_name('anklealign'), 'protocols', '--repeats', '9'], cwd=ankle.home, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | SMALL)
    next(o for o in process.stdout if o.startswith('trainings'))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 1 and error.startswith('anklealign: interrupted') and error.count('\n') == 1
    assert content(prepared/'output') == before
