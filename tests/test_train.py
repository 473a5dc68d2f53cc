"""`anklealign train`: killed and taken up again, stopped by a full disk, refused, and by two processes."""
import csv
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import begun, content
from safetensors.numpy import load_file

COMMAND = Path(sys.executable).with_name('anklealign')
SMALL = {'ANKLEALIGN_TRAIN_RECIPE': 'baseline', 'ANKLEALIGN_TRAIN_SIZE': '64', 'ANKLEALIGN_TRAIN_PRECISION': 'float32', 'ANKLEALIGN_IMAGES_SIZE': '64'}


def start(home, *args, env=SMALL, **kwargs):
    return subprocess.Popen([COMMAND, 'train', *args], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | env, **kwargs)


def kill_after(home, epochs, *args):
    "Train, and end the process without warning as soon as it has told of `epochs` epochs."
    read, write = os.pipe()
    with os.fdopen(read) as said:
        with os.fdopen(write, 'w') as out, open(os.devnull, 'w') as err: child = begun(['train', *args], home, SMALL, out, err)
        assert any(o.startswith(f'{epochs}/') for o in said)
        time.sleep(.05)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_and_resumed_ends_in_the_same_files(prepared, ankle):
    many = ['--recipe', 'gapcnn', '--epochs', '4']
    ankle('train', *many, '--run', 'whole', **SMALL)
    kill_after(prepared, 2, *many, '--run', 'cut')
    assert not (prepared/'output/models/cut').exists()
    assert 'going on after epoch' in ankle('train', *many, '--run', 'cut', '--resume', **SMALL).stdout
    models = prepared/'output/models'
    cut, whole = (content(models/o) for o in ('cut', 'whole'))
    cut['bundle.json'] = cut['bundle.json'].replace(b'"name": "cut"', b'"name": "whole"')
    assert cut == whole
    assert {o.name for o in models.iterdir()} == {'cut', 'whole'}
    assert 'nothing to go on with' in ankle('train', *many, '--run', 'cut', '--resume', **SMALL).stdout


@pytest.mark.slow
def test_changed_settings_and_a_full_disk_leave_everything_as_it_was(prepared, ankle):
    ankle('train', '--epochs', '1', **SMALL)
    kill_after(prepared, 2, '--epochs', '5')
    before = content(prepared/'output/models')
    assert {o.partition('/')[0] for o in before} == {'baseline', '.baseline.checkpoint'}
    for change in (['--epochs', '6'], ['--epochs', '5', '--recipe', 'gapcnn', '--run', 'baseline']):
        said = ankle('train', '--resume', *change, code=1, **SMALL).stderr
        assert 'was trained with other settings' in said and said.count('\n') == 1
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    process = start(prepared, '--epochs', '5', '--resume', preexec_fn=limit)
    _, error = process.communicate()
    assert process.returncode == 1 and error.startswith('anklealign: Cannot write') and error.count('\n') == 1, error
    assert content(prepared/'output/models') == before


def test_refused_before_anything_is_touched(prepared, ankle):
    assert "nearest is 'gapcnn'" in ankle('train', '--recipe', 'gapcn', code=1).stderr
    assert 'needs a GPU' in ankle('train', '--precision', 'float16', code=1).stderr
    assert 'must be at least 32' in ankle('train', code=1, ANKLEALIGN_TRAIN_SIZE='16').stderr
    manifest = prepared/'output/processed/metadata.csv'
    rows = list(csv.DictReader(manifest.open()))
    with manifest.open('w', newline='') as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(o for o in rows if o['split'] != 'train' or o['label'] != 'supination')
    assert "no 'supination' picture in the split 'train'" in ankle('train', code=1).stderr
    assert not (prepared/'output/models').exists()


@pytest.mark.slow
def test_two_trainings_of_one_name(prepared, ankle):
    first = start(prepared, '--recipe', 'gapcnn', '--epochs', '300')
    try:
        checkpoint = prepared/'output/models/.gapcnn.checkpoint/checkpoint.safetensors'
        while not checkpoint.exists() and first.poll() is None: time.sleep(.05)
        second = ankle('train', '--recipe', 'gapcnn', '--epochs', '1', code=1, **SMALL).stderr
        assert second.startswith('anklealign: Another anklealign is training') and second.count('\n') == 1
        assert first.poll() is None and checkpoint.exists()
    finally:
        first.kill()
        first.communicate()
    ankle('train', '--recipe', 'gapcnn', '--epochs', '1', **SMALL)
    assert [o.name for o in (prepared/'output/models').iterdir()] == ['gapcnn']


LAUNCH = [Path(sys.executable).with_name('accelerate'), 'launch', '--multi_gpu', '--num_processes', '2', '--mixed_precision', 'no', '--dynamo_backend', 'no']


def on_two_machines(script, *last, study, runs):
    "Start a script as the guide says, on two machines that share no folder; give both exit codes and what they said."
    with socket.create_server(('127.0.0.1', 0)) as free: port = free.getsockname()[1]
    many = [*LAUNCH, '--num_machines', '2', '--main_process_ip', '127.0.0.1', '--main_process_port', str(port)]
    both = [subprocess.Popen([*many, '--machine_rank', str(i), script, study[i], runs[i], *last], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=os.environ | {'OMP_NUM_THREADS': '1'}) for i in (0, 1)]
    said = [o.communicate(timeout=300)[0] for o in both]
    return [o.returncode for o in both], ''.join(said)


@pytest.mark.slow
def test_two_machines_learn_as_one_and_go_on_when_one_was_lost(prepared, tmp_path):
    "The same batches give the same weights; a model without batch norm and dropout shows it."
    script, second, here = Path(__file__).with_name('parallel_run.py'), tmp_path/'second', prepared/'output/processed'
    shutil.copytree(here, second/'processed')
    subprocess.run([sys.executable, script, here, tmp_path/'one'], check=True, env=os.environ | {'OMP_NUM_THREADS': '1'})
    both = dict(study=(here, second/'processed'), runs=(tmp_path/'two', second/'two'))
    codes, said = on_two_machines(script, 'lost', **both)
    assert all(codes) and not (tmp_path/'two').exists(), said
    codes, said = on_two_machines(script, **both)
    assert codes == [0, 0], said
    one, two = ([{k: float(v) for k, v in o.items()} for o in csv.DictReader((tmp_path/name/'history.csv').open())] for name in ('one', 'two'))
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True): assert abs(a['train_loss'] - b['train_loss']) < 1e-5 and abs(a['valid_loss'] - b['valid_loss']) < 1e-5, (a, b)
    assert one[0]['train_loss'] - one[-1]['train_loss'] > .02
    weights, others = (load_file(tmp_path/name/'model.safetensors') for name in ('one', 'two'))
    assert max(abs(weights[k] - others[k]).max() for k in weights) < 1e-5
    assert json.loads((tmp_path/'two/config.json').read_text())['processes'] == 2
    assert {o.name for o in second.iterdir()} == {'processed'} and not list(tmp_path.glob('.*')) # only the first machine writes
    (second/'processed/metadata.csv').write_text((here/'metadata.csv').read_text().replace(',1.0,', ',1.00,', 1))
    codes, said = on_two_machines(script, **both)
    assert all(codes) and 'have different studies' in said, said


@pytest.mark.slow
def test_the_command_under_accelerate(prepared):
    done = subprocess.run([*LAUNCH, '--num_machines', '1', '--main_process_port', '0', COMMAND, 'train', '--recipe', 'gapcnn', '--epochs', '2'], cwd=prepared, capture_output=True, text=True,
                          env=os.environ | SMALL | {'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stdout + done.stderr
    assert [o.split()[0] for o in done.stdout.splitlines() if o.startswith(('epoch ', '1/2 ', '2/2 '))] == ['epoch', '1/2', '2/2']
    assert [o.name for o in (prepared/'output/models').iterdir()] == ['gapcnn']
