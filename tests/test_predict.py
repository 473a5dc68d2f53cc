"""`anklealign bundle` and `anklealign predict`, end to end on a drawn study."""
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import content, make_ankle, picture, prepare_once
from PIL import Image

SMALL = {'ANKLEALIGN_TRAIN_SIZE': '64', 'ANKLEALIGN_TRAIN_PRECISION': 'float32', 'ANKLEALIGN_IMAGES_SIZE': '64'}
MODEL = 'output/models/gapcnn'


def train_once(place):
    "A folder `cwd` with a prepared study and a run, and the raw study beside it."
    prepare_once(place)
    make_ankle(place)('train', '--recipe', 'gapcnn', '--epochs', '1', **SMALL)


@pytest.fixture
def trained(made_once, tmp_path):
    shutil.copytree(made_once('trained', train_once), tmp_path, dirs_exist_ok=True)
    return make_ankle(tmp_path)


def table(text): return list(csv.DictReader(io.StringIO(text)))


def test_a_training_can_be_asked_and_given_away(trained, tmp_path):
    photo = next((tmp_path/'raw').rglob('*.jpg'))
    trained('evaluate', '--run', 'gapcnn', **SMALL)
    trained('bundle', 'gapcnn')
    places = MODEL, 'output/bundles/gapcnn', 'output/bundles/gapcnn.zip'
    answers = [json.loads(trained('predict', photo, '--json', '--model', o).stdout) for o in places]
    assert all(o[0]['probabilities'] == answers[0][0]['probabilities'] for o in answers)
    about = json.loads((trained.home/'output/bundles/gapcnn/bundle.json').read_text())
    assert about['figures']['images'] > 0 and about['verified']['largest_difference'] < 1e-3
    assert set(content(trained.home/'output/bundles/gapcnn')) == {'bundle.json', 'model.onnx', 'model.safetensors'}


def test_unusable_files_are_rows_and_exit_code_1(trained, tmp_path):
    photos = tmp_path/'photos'
    photos.mkdir()
    (photos/'whole.jpg').write_bytes(picture(1))
    (photos/'cut.jpg').write_bytes(picture(2)[:900])
    (photos/'page.png').write_text('<html>')
    before = content(photos)
    done = trained('predict', photos, '--model', MODEL, code=1)
    rows = {Path(o['image']).name: o for o in table(done.stdout)}
    assert {k: bool(o['error']) for k, o in rows.items()} == {'whole.jpg': False, 'cut.jpg': True, 'page.png': True}
    assert '2 of 3 photos could not be used' in done.stderr
    assert content(photos) == before


def test_standard_input_patterns_and_overlays(trained, tmp_path):
    (tmp_path/'a.jpg').write_bytes(picture(1))
    command = [Path(sys.executable).with_name('anklealign'), 'predict', '-', '--model', MODEL]
    piped = subprocess.run(command, cwd=trained.home, input=picture(1), capture_output=True)
    named = trained('predict', f'{tmp_path}/*.jpg', '--model', MODEL, '--overlay', 'marked')
    assert table(piped.stdout.decode())[0]['prob_neutral'] == table(named.stdout)[0]['prob_neutral']
    [marked] = (trained.home/'marked').iterdir()
    assert Image.open(marked).size == (96, 120)


def test_damaged_bundles_are_refused(trained, tmp_path):
    graph = trained.home/MODEL/'model.onnx'
    graph.write_bytes(graph.read_bytes()[:-1] + b'?')
    (tmp_path/'a.jpg').write_bytes(picture(1))
    assert 'model.onnx is not the file' in trained('predict', tmp_path/'a.jpg', '--model', MODEL, code=1).stderr
    assert 'There is no bundle' in trained('predict', tmp_path/'a.jpg', '--model', 'nowhere', code=1).stderr
    trained('bundle', 'gapcnn')
    trained('predict', tmp_path/'a.jpg', '--model', MODEL)


@pytest.mark.slow
def test_run_answers_test_pictures_where_there_is_no_such_folder(raw, ankle):
    said = ankle('run', raw, '--epochs', '1', '--no-folds', **SMALL).stdout
    told = json.loads((ankle.home/'output/inference/predictions.json').read_text())
    split = {o['image']: o['split'] for o in table((ankle.home/'output/processed/metadata.csv').read_text())}
    assert 'as a demonstration' in said and [split[o['name']] for o in told] == ['test']*min(5, len(told)) and told


def test_the_same_picture_in_hungarian(trained, tmp_path):
    photo = next((tmp_path/'raw').rglob('*.jpg'))
    said = json.loads(trained('predict', photo, '--json', '--model', MODEL, ANKLEALIGN_DISPLAY_LANGUAGE='hu').stdout)[0]
    assert said['disclaimer'].startswith('Szűrési') and set(said['probabilities']) == {'pronation', 'neutral', 'supination'}


def test_nothing_heavy_is_imported(trained, tmp_path):
    (tmp_path/'a.jpg').write_bytes(picture(1))
    code = (f"import sys; from anklealign.app.cli import app\ntry: app(['predict', r'{tmp_path/'a.jpg'}', '--model', '{MODEL}'])\nexcept SystemExit: pass\n"
            "print([m for m in ('torch', 'fastai', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])")
    done = subprocess.run([sys.executable, '-c', code], cwd=trained.home, capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == '[]', done.stdout + done.stderr
