"""`anklealign run`, `train` and `evaluate`, end to end on a drawn study."""
import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SPELLINGS, content, make_ankle, picture, task, write_study
from PIL import Image

from anklealign.core import class_names
from anklealign.eval import _NARROW

FILES = {'evaluation_report.json', 'report.html', 'report.md', 'metrics.csv', 'test_predictions.csv', 'folds_predictions.csv', 'curves.png', 'confusion_matrix.csv', 'confusion_matrix.png',
         'confusion_matrix_normalized.csv', 'confusion_matrix_normalized.png'}

SMALL = {'ANKLEALIGN_TRAIN_SIZE': '64'}


def run_once(place):
    "In `place/cwd`: a raw study with photos to answer beside it, what `run` leaves when a shell starts it, and what it said."
    ankle = make_ankle(place)
    write_study(ankle.home/'raw')
    (ankle.home/'inference').mkdir()
    for i in range(3): (ankle.home/f'inference/{i}.jpg').write_bytes(picture(i))
    (ankle.home/'said.txt').write_text(ankle('run', 'raw', '--epochs', '2', shell=True, **SMALL).stdout)


@pytest.fixture
def after_a_run(made_once): return made_once('after_a_run', run_once)


@pytest.fixture
def ran(after_a_run, ankle):
    "`anklealign` in a copy of a folder in which `run` has been called once."
    shutil.copytree(after_a_run/'cwd', ankle.home, dirs_exist_ok=True)
    return ankle


def test_run_leaves_everything_and_the_same_again(after_a_run, tmp_path):
    make_ankle(after_a_run)('run', 'raw', '--epochs', '2', '--output', tmp_path/'again', **SMALL) # in another process, with other hashes
    one, two = (content(o) for o in (after_a_run/'cwd/output', tmp_path/'again'))
    log = one.pop('log/run.log').decode()
    two.pop('log/run.log')
    assert one == two
    assert {k.rpartition('/')[2] for k in one if k.startswith('evaluation/')} == FILES
    assert {k for k in one if k.startswith('models/')} == {f'models/baseline/{o}' for o in ('config.json', 'history.csv', 'history.png', 'model.safetensors', 'valid_predictions.csv', 'model_card.md', 'model.onnx', 'bundle.json')}
    shown = [o for o in (after_a_run/'cwd/said.txt').read_text().splitlines() if o.startswith(('epoch ', '1/2 ', '2/2 ', 'Pictures', 'model tinycnn'))]
    assert len(shown) == 5 and all(o in log for o in shown)
    assert 'model tinycnn, 1,054,179 parameters' in log


def test_run_answers_the_inference_folder(ran):
    rows = list(csv.DictReader((ran.home/'output/inference/predictions.csv').open()))
    assert [Path(o['image']).name for o in rows] == ['0.jpg', '1.jpg', '2.jpg']
    told = json.loads((ran.home/'output/inference/predictions.json').read_text())
    assert [(o['name'], o['answer']) for o in told] == [(o['image'], o['answer']) for o in rows]


SECTIONS = ['At a glance', 'Scores with confidence intervals', 'Operating points', 'ROC and precision–recall curves', 'Calibration', 'Prediction sets and abstention', 'Slices', 'Several pictures of one person',
            'Labels', 'What could not be computed']
MORE = ['Changed pictures', 'Heat maps', 'Least sure'] # for a model that has been shown to tell the classes apart


@pytest.mark.slow
def test_a_model_that_has_learned_gets_all_of_the_report(ankle, tmp_path):
    "Light, middle and dark pictures, which anything can tell apart."
    root = tmp_path/'easy'
    root.mkdir()
    tasks = []
    for i in range(150):
        name, wanted = f'sajat_resztvevo{i + 1:03}_01.jpg', i % 3
        pixels = np.asarray(Image.open(io.BytesIO(picture(i))), float) / 4 + 80 * wanted
        Image.fromarray(pixels.astype(np.uint8)).save(root/name)
        tasks.append(task(i + 1, name, SPELLINGS[wanted]))
    (root/'export.json').write_text(json.dumps(tasks))
    shown = ankle('run', root, '--epochs', '6', '--folds', ANKLEALIGN_TRAIN_SIZE='32').stdout
    report = json.loads(ankle('evaluate', '--json', ANKLEALIGN_TRAIN_SIZE='32').stdout)
    assert report['verdict'] == report['folds']['summary'] and report['verdict'] in shown
    assert report['verdict'].startswith('The model is better than always answering') and 'has not met its group' in report['verdict']
    assert report['folds']['images'] == 150 > report['images'] and report['left_out'] == '' and report['robustness']['levels']
    where = ankle.home/'output/evaluation/baseline'
    assert all(f'<h2>{o}</h2>' in (where/'report.html').read_text() for o in SECTIONS + MORE)
    lines = shown.splitlines()
    result = lines[lines.index(report['verdict']):]
    figures = next(i for i, o in enumerate(result) if '───' in o) + 1
    assert [o.split()[0] for o in result[figures:figures + 5]] == ['accuracy', 'macro-F1', *['recall,']*3] and len(result) <= 18 # with five answers as a demonstration
    assert any(o.endswith('report.html') for o in result) and not any(o.startswith('|') for o in lines)
    compared = json.loads(ankle('compare', 'baseline', '--json').stdout)
    assert set(compared['runs']) == {'baseline', f"always {report['majority_class']}"}
    assert 'No verdict' not in shown and ankle('run', root, '--epochs', '1', '--no-folds', '--output', 'other', ANKLEALIGN_TRAIN_SIZE='32').stdout.count('--folds')
    assert not (ankle.home/'other/protocols').exists()


@pytest.mark.slow
def test_several_recipes_side_by_side_and_another_operating_point(raw, ankle):
    two = '--recipe', 'baseline', '--recipe', 'gapcnn'
    quick = '--set', 'recipe.epochs=1', '--set', 'train.size=64', '--set', 'evaluate.shipped_model=yes'
    assert '--run mine cannot name 2 runs' in ankle('run', raw, *two, '--run', 'mine', code=1).stderr
    assert "nearest is 'gapcnn'" in ankle('run', raw, '--recipe', 'baseline', '--recipe', 'gapcn', code=1).stderr and not (ankle.home/'output').exists()
    shown = ankle('run', raw, *two, *quick, '--no-folds').stdout
    where, home = ankle.home/'output/comparison/baseline+gapcnn', ankle.home/'output/evaluation'
    report, rows = json.loads((home/'baseline/evaluation_report.json').read_text()), list(csv.DictReader((where/'runs.csv').open()))
    names = ['baseline', 'gapcnn', f"always {report['majority_class']}", 'shipped model']
    assert [o['run'] for o in rows] == names and str(where/'comparison.html').split('cwd/')[1] in shown
    assert all(f'>{o}</th>' in (where/'comparison.html').read_text() for o in (*names[:2], names[3])) and 'Compared on the test split only' in shown
    answered = list(csv.DictReader((home/'baseline/test_predictions.csv').open()))
    right = sum(o['shipped'] == o['label'] for o in answered) / len(answered)
    assert abs(report['yardsticks']['shipped model']['accuracy'] - right) < 1e-5 and abs(float(rows[3]['accuracy']) - right) < 1e-5
    assert abs(report['shipped']['gain']['accuracy']['value'] - report['metrics']['accuracy']['value'] + right) < 1e-5
    wanted = '--set', 'evaluate.objective=macro_f1'
    assert 'anklealign bundle baseline' in ankle('evaluate', '--run', 'baseline', *wanted).stdout # judged as it ships
    assert 'fitted anew' in ankle('bundle', 'baseline', *wanted).stdout and 'fitted anew' not in ankle('bundle', 'baseline', *wanted).stdout
    assert json.loads((ankle.home/'output/bundles/baseline/bundle.json').read_text())['figures'] is None # those were of another rule
    again = json.loads(ankle('evaluate', '--run', 'baseline', '--json', *wanted, '--set', 'evaluate.shipped_model=no').stdout)
    assert again['trust']['objective'] == 'macro_f1' and 'shipped model' not in again['yardsticks'] and 'leaves it out' in again['shipped']['verdict']


def test_figures_agree_with_the_predictions_and_the_report_opens(ran, browser):
    where = ran.home/'output/evaluation/baseline'
    rows = list(csv.DictReader((where/'test_predictions.csv').open()))
    manifest = {o['image']: o for o in csv.DictReader((ran.home/'output/processed/metadata.csv').open())}
    assert {o['image'] for o in rows} == {k for k, o in manifest.items() if o['split'] == 'test'}
    report = json.loads((where/'evaluation_report.json').read_text())
    assert _NARROW in report['notes'] # 18 people
    right = sum(o['predicted'] == manifest[o['image']]['label'] for o in rows) / len(rows)
    assert abs(report['metrics']['accuracy']['value'] - right) < 1e-6
    assert report['metrics']['accuracy']['majority'] is not None and report['images'] == len(rows)
    assert all(abs(sum(float(o[f'prob_{c}']) for c in ('pronation', 'neutral', 'supination')) - 1) < 1e-4 for o in rows)
    page, said = browser.new_page(viewport={'width': 360, 'height': 800}), []
    page.on('console', lambda o: said.append(o.text))
    page.on('pageerror', lambda o: said.append(str(o)))
    page.goto((ran.home/'output/evaluation/baseline/report.html').as_uri())
    assert page.get_by_role('heading', level=2).all_inner_texts() == SECTIONS and 'Label issues' in report['left_out']
    cell = page.locator('td button').first
    inside, count = page.locator(f"#{cell.get_attribute('popovertarget')}"), int(cell.inner_text())
    assert not inside.is_visible()
    cell.press('Enter')
    assert inside.is_visible() and inside.locator('img').count() == min(count, 12) and 'answered' in inside.inner_text()
    page.keyboard.press('Escape')
    assert not inside.is_visible()
    for o in page.locator('summary').all(): o.click()
    assert page.get_by_role('table').count() == page.locator('caption').count() >= 8
    assert page.evaluate('[...document.images].every(o => o.complete && o.naturalWidth > 0)') and page.locator('img[alt=""]').count() == 0
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth') and said == []
    page.close()


@pytest.mark.parametrize('command', [['evaluate'], pytest.param(['run', 'raw', '--epochs', '1', '--no-folds'], marks=pytest.mark.slow)], ids=['evaluate', 'run'])
def test_hungarian_where_people_read_english_where_programs_do(ran, command):
    shown = ran(*command, ANKLEALIGN_DISPLAY_LANGUAGE='hu', **SMALL).stdout
    where = ran.home/'output/evaluation/baseline'
    assert any(o in shown for o in class_names('hu')) and 'Szupináció' in (where/'report.md').read_text()
    assert 'Szupináció' not in (where/'metrics.csv').read_text() + (where/'test_predictions.csv').read_text()


def test_one_sentence_when_something_is_missing(raw, ankle):
    assert 'anklealign prepare' in ankle('train', code=1).stderr
    ankle('prepare', raw)
    assert "nearest is 'baseline'" in ankle('train', '--recipe', 'basline', code=1).stderr
    assert 'anklealign train' in ankle('evaluate', code=1).stderr
    assert not (ankle.home/'output/models').exists() and not (ankle.home/'output/evaluation').exists()


def test_a_run_trained_on_another_study_is_told(ran):
    ran('prepare', 'raw', '--seed', '5')
    assert 'another study' in ran('evaluate').stdout


def test_a_run_on_nothing_leaves_nothing(ankle, tmp_path):
    (tmp_path/'empty').mkdir()
    for raw in ('nowhere', tmp_path/'empty'): ankle('run', raw, code=1)
    assert not (ankle.home/'output').exists()


def test_a_run_has_a_name_and_not_a_path(prepared, ankle, tmp_path):
    precious = tmp_path/'cwd/output/models/precious'
    precious.mkdir(parents=True)
    (precious/'bundle.json').write_text('{}')
    before = content(tmp_path)
    for name in ('../../x', '../models/precious', str(tmp_path/'x'), '.', '.x', ''):
        commands = ('train', '--run', name), ('evaluate', '--run', name), ('evaluate', '--recipe', name), ('bundle', name), ('compare', name), \
                   ('run', tmp_path/'raw', '--run', name)
        for command in commands if name in ('../../x', '') else commands[:1]: # which all ask one function
            assert f'{name!r} is not a name for a run' in ankle(*command, code=1).stderr, command
    assert content(tmp_path) == before


def test_an_output_in_the_raw_folder_is_refused_before_anything_is_written(raw, ankle):
    before = content(raw.parent/'raw')
    for output in (raw, raw/'D6AE9F', raw/'new'):
        assert 'lie inside each other' in ankle('run', raw, '--output', output, code=1).stderr
        assert content(raw) == before and not (raw/'new').exists() and not (raw/'log').exists()


ODD = {('export', ''): 'name a folder', ('export', '.'): 'name a folder', ('export', 'raw'): 'is not replaced', ('export', 'pipe'): 'is not replaced',
       ('export', '/proc/x'): 'Cannot write', ('compare', 'baseline', 'baseline'): 'names a run twice', ('evaluate', '--run', 'a.txt'): 'is not a run folder',
       ('train', '--settings', 'pipe'): 'no ordinary file', ('train', '--weights', 'x', '--epochs', '0'): 'at least 1', ('serve', '--model', 'pipe'): 'no ordinary file',
       ('serve', '--label-studio', 'me'): 'must be like http://', ('page', 'pipe', '--model', 'pipe'): 'no ordinary file', ('merge', 'a.csv', 'pipe'): 'is no shard',
       ('label-studio', 'init', 'raw', '--create'): 'is no address of a Label Studio server', ('label-studio', 'queue', '../3'): 'is no project'}


def test_odd_arguments_are_told_in_one_sentence_and_leave_nothing(ran):
    os.mkfifo(ran.home/'pipe')
    before = {k: v for k, v in content(ran.home).items() if not k.endswith('run.log')}
    for command, told in ODD.items():
        error = ran(*command, code=1).stderr
        assert told in error and error.count('\n') == 1, (command, error)
    assert {k: v for k, v in content(ran.home).items() if not k.endswith('run.log')} == before
    assert 'x is not read' in ran('train', '--weights', 'x', '--epochs', '1', **SMALL).stdout


def test_damaged_runs_and_manifests_are_told_in_one_sentence(ran):
    run, study = ran.home/'output/models/baseline', ran.home/'output/processed'
    config, said, manifest = ((o/n).read_text() for o, n in ((run, 'config.json'), (run, 'valid_predictions.csv'), (study, 'metadata.csv')))
    told = json.loads(config)
    configs = '', '[]', '{"recipe": 3}', '['*10**6, json.dumps(told | {'study': []}), json.dumps(told | {'recipe': told['recipe'] | {'model': {}}}), \
              json.dumps(told | {'study': told['study'] | {'images': {'train': {'pronation': 'many'}}}})
    damages = [(run/'config.json', o) for o in configs]
    damages += [(run/'valid_predictions.csv', o) for o in ('', 'image,label\n', said.replace('neutral', 'nuetral'), said.replace('group', 'people'))]
    damages += [(run/'bundle.json', '[3]'), (run/'model.safetensors', 'PK')]
    lines = manifest.splitlines()
    label = next(o for o in lines[1:] if ',neutral,1,' in o)
    lines[lines.index(label)] = label.replace(',neutral,1,', ',pronation,1,')
    damages += [(study/'metadata.csv', '\n'.join(lines)), (study/'metadata.csv', manifest.replace(',test', ',train', 1))]
    folds = (ran.home/'output/protocols').rename(ran.home/'folds') # with them, nobody reads the validation answers
    for file, text in damages:
        before = file.read_bytes()
        file.write_text(text)
        error = ran('evaluate', code=1).stderr
        assert error.count('\n') == 1 and 'error of its own' not in error and len(error) < 500, (file, text[:100], error)
        file.write_bytes(before)
    folds.rename(ran.home/'output/protocols')
    assert 'finished' in ran('train', '--epochs', '2', '--resume', **SMALL).stdout
    (run/'config.json').write_text('{"recipe": 3}')
    assert 'damaged' in ran('train', '--epochs', '2', '--resume', code=1, **SMALL).stderr
