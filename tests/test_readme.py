"""Every command of the README and of `step by step`, typed as it stands there; only trainings are short, and synthetic pictures few."""
import dataclasses
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from conftest import QUICK, SEVERAL, content, free_port, make_ankle, write_study
from fastcore.nbio import read_nb

from anklealign.app.http import _CONNECTIONS, make_app
from anklealign.baseline import TinyCNN
from anklealign.core import CLASSES, ServeSettings, Settings
from anklealign.deploy import Predictor
from anklealign.eval import _MANY, _NARROW
from anklealign.gapcnn import GAPCNN
from anklealign.images import FAULTS
from anklealign.storage import demo_study
from anklealign.study.files import IMAGE_SUFFIXES
from anklealign.training.recipes import QUICK as QUICK_RECIPES
from anklealign.training.recipes import Recipe, augmentations, recipes

ROOT = Path(__file__).parents[1]


def markdown(name): return '\n'.join(o.source for o in read_nb(ROOT/'nbs'/name).cells if o.cell_type == 'markdown')


README = (ROOT/'README.md').read_text(encoding='utf-8')
SHORT = {'ANKLEALIGN_IMAGES_SIZE': '64', 'ANKLEALIGN_TRAIN_SIZE': '32', 'ANKLEALIGN_TRAIN_EPOCHS': '1', 'BROWSER': 'true'} | SEVERAL
STEPS = markdown('guides/step_by_step.ipynb')
DEPLOYING, EARLIER, CONCEPTS = ((ROOT/f'nbs/guides/{o}.qmd').read_text(encoding='utf-8') for o in ('deploying', 'earlier_systems', 'concepts'))


def typed(page): return [shlex.split(o, comments=True) for block in re.findall(r'^```sh\n(.*?)```', page, re.M | re.S) for o in block.splitlines() if o]


TYPED = typed(README) + typed(STEPS)
INLINE = [shlex.split(o) for o in re.findall(r'`((?:anklealign|pip|docker) [^`]+)`', README + STEPS + DEPLOYING)]
DOCKER = [o for o in typed(DEPLOYING) if o[0] == 'docker'] + [o for o in INLINE if o[0] == 'docker']


def of(*start): return [o[len(start):] for o in (*TYPED, *INLINE) if o[:len(start)] == [*start]]


@pytest.fixture(scope='module')
def user(tmp_path_factory):
    "`anklealign` in the folder of somebody with a photo and pictures of their own."
    ankle = make_ankle(tmp_path_factory.mktemp('user'), QUICK)
    write_study(ankle.home/'my_pictures')
    with zipfile.ZipFile(demo_study()) as z:
        for name, photo in zip(('photo.jpg', 'again.jpg'), (o for o in z.namelist() if o.endswith('.jpg')), strict=False): (ankle.home/name).write_bytes(z.read(photo))
    return ankle


@pytest.mark.parametrize('recipe', ['baseline', pytest.param(Settings().train.recipe, marks=pytest.mark.slow)])
def test_two_commands(tmp_path, recipe):
    plain = {k: v for k, v in os.environ.items() if not k.startswith('MAKE')} # `make test` calls this
    made = {name: subprocess.run(['make', '-n', name], cwd=ROOT, check=True, capture_output=True, text=True, env=plain).stdout for name, in of('make')}
    last = {name: o.splitlines()[-1] for name, o in made.items()}
    assert last['demo'].endswith('/anklealign demo') and last['test'].endswith('tests/all.sh') and len(last) == 2
    ankle = make_ankle(tmp_path, QUICK)
    assert 'To go on with this study' in ankle('demo', '--no-folds', ANKLEALIGN_TRAIN_RECIPE=recipe, **SHORT).stdout # folds: in the next test
    assert (ankle.home/f'output/demo/evaluation/{recipe}/report.html').exists()
    assert next((ankle.home/'output/demo/processed/images').glob('*.jpg'))


@pytest.mark.slow
def test_from_pictures_to_an_answer(user):
    apart = {'serve', 'phantom'} # have a test of their own
    lines = [o[1:] for o in TYPED if o[0] == 'anklealign' and o[1] not in apart]
    assert [o[0] for o in lines] == ['predict', 'run', 'predict', 'prepare', 'train', 'evaluate', 'compare', 'protocols', 'bundle', *['predict']*3]
    said = [user(*o, **SHORT).stdout for o in lines]
    assert 'demonstration model, trained on synthetic pictures' in said[0] and 'demonstration model' not in said[2]
    output = user.home/'output'
    assert {o.name for o in (output/'models').iterdir() if o.name[0] != '.'} == {'baseline', 'measured'}
    assert (output/'bundles/measured.zip').exists() and 'https' not in said[8]
    assert json.loads(said[-3])[0]['answer'] in ('', *CLASSES) and '2 of 2 photos together' in said[-1]
    assert [o.name for o in (user.home/'marked').iterdir()] == ['photo.jpg.png']
    named = {o for page in (README, STEPS) for o in re.findall(r'`(output/[^`]+)`', page) if not o.startswith('output/demo')}
    files = sorted(re.sub('<(run|recipe)>', 'measured', o) for o in named)
    assert len(files) == 13
    missing = [o for o in files if not (user.home/o).exists()] # pictures of noise teach a model nothing
    assert missing == ['output/evaluation/measured/doubtful_labels.csv']
    earlier = {o.replace('<run>', 'measured') for o in re.findall(r'`(output/[^`]+)`', EARLIER)}
    assert len(earlier) == 15 and not [o for o in earlier if not (user.home/o).exists()]


def test_the_service(user):
    port = free_port()
    process = subprocess.Popen([Path(sys.executable).with_name('anklealign'), *of('anklealign', 'serve')[0], 'serve'], cwd=user.home, stderr=subprocess.DEVNULL,
                               env=os.environ | {'ANKLEALIGN_SERVE_PORT': str(port)})
    try:
        for _ in range(300):
            try: ready = urlopen(f'http://127.0.0.1:{port}/ready').status
            except OSError: ready = time.sleep(.1)
            if ready: break
        assert json.load(urlopen(f'http://127.0.0.1:{port}/model'))['demonstration'] and b'anklealign' in urlopen(f'http://127.0.0.1:{port}/').read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally: process.kill()


def test_synthetic_pictures(user):
    words, = of('anklealign', 'phantom')
    assert words[:2] == ['--n', '965']
    user('phantom', '--n', '2', *words[2:])
    assert sum(o.endswith('.jpg') for o in content(user.home/words[-1])) == 2


def test_containers_and_packages():
    "Images are built and used by `make image-test`, the wheel by `tests/wheel.py`; here, whether what is typed fits what they use."
    targets = set(re.findall(r'^FROM .* AS (\S+)', (ROOT/'Dockerfile').read_text(), re.M))
    assert {o[o.index('--target') + 1] for o in DOCKER if o[1] == 'build'} == {'serve', 'full'} <= targets
    services = yaml.safe_load((ROOT/'compose.yaml').read_text())['services']
    assert {o[-1] for o in DOCKER if o[1] == 'compose' and len(o) > 2} == {'pipeline', 'lab', 'serve', 'proxy'} == set(services) - {'label-studio', 'loop', 'replica'} # which start with others
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    extras = {e for o in of('pip', 'install') for e in re.findall(r'\[(\w+)\]', o[0])}
    assert extras == {'train', 'serve'} < set(project['optional-dependencies'])
    assert f"Python {project['requires-python'].removeprefix('>=')} or later" in README
    assert {o[0] for o in TYPED} == {'make', 'anklealign'}


def test_settings_and_limits_are_those_of_the_code():
    settings, serve = Settings(), ServeSettings()
    assert f'http://{serve.host}:{serve.port};' in README
    for o in re.findall(r'set `(\w+)', DEPLOYING, re.I): assert hasattr(serve, o), o
    assert f'{_CONNECTIONS} in all and {_CONNECTIONS//2} from one address' in DEPLOYING
    paths = {f'/{o}' for o in re.findall(r'`(?:GET|POST) /([\w/]+)`', DEPLOYING)}
    served = {o.path for o in make_app(Predictor(), ServeSettings(page=False)).routes}
    assert paths == {'/predict', '/predict/batch', '/model', '/health', '/ready', '/metrics'} <= served
    assert f'say {settings.evaluate.coverage:.0%} of the time'.replace('%', ' %') in CONCEPTS
    assert {o.stem for o in (ROOT/'anklealign/locale').glob('*.json')} == {'en', 'hu'} and 'English and Hungarian' in DEPLOYING
    pages = '\n'.join([README, *(markdown(o.relative_to(ROOT/'nbs')) for o in (ROOT/'nbs').glob('0*.ipynb')), *(markdown(o.relative_to(ROOT/'nbs'))
                       for o in (ROOT/'nbs/guides').glob('*.ipynb')), *(o.read_text(encoding='utf-8') for o in (ROOT/'nbs/guides').glob('*.qmd'))])
    named = {*re.findall(r'`\[(\w+)\] (\w+)', pages), *re.findall(r'--set ((?!recipe)\w+)\.(\w+)=', pages)}
    named |= {(s.lower(), k.lower()) for s, k in re.findall(r'ANKLEALIGN_([A-Z]+)_(\w+)=', pages)}
    assert len(named) >= 10 and sorted((s, k) for s, k in named if k not in type(getattr(settings, s)).model_fields) == []
    flags = re.search(r'and `quality`, the flags: (.*?)\.', pages)[1]
    assert {*re.findall(r'`(\w+)`', flags)} == {*FAULTS}


def test_recipes_are_what_the_pages_say():
    rows = dict(re.findall(r'^\| `(\w+)` \| (.*?) \|', STEPS, re.M))
    assert set(rows) == set(recipes) and {3: 'Three', 5: 'Five', 6: 'Six'}[len(rows)] + ' come with the package' in STEPS
    assert set(re.search(r'train --recipe (\w+) +# or (.*)', STEPS).expand(r'\1, \2').split(', ')) == set(recipes) and Settings().train.recipe == 'measured'
    for name, model in (('baseline', TinyCNN), ('gapcnn', GAPCNN)):
        n = f'{sum(o.numel() for o in model().parameters()):,} parameters'
        assert n in rows[name] and re.search(rf'{n} \| `{name}` \|', EARLIER)
    for name, said in re.findall(r'\| `(\w+)` \| (.*?) \(\[', EARLIER): # the recipes of the replaced systems
        o, rate = recipes[name], re.search(r'Adam(W?) 1e-(\d)', said)
        assert (o.optimiser, o.lr) == ('adam' + rate[1].lower(), 10**-int(rate[2])), name
        for words, value in ((r'(\d+) epochs', o.epochs), (r'batches of (\d+)', o.batch_size), (r'patience (\d+)', o.patience), (r'(\d+) px', o.size)):
            assert [*map(int, re.findall(words, said))] in ([], [value]), (name, words)
    assert augmentations['heels_imagenet'].roll_deg == 3 and 'by three degrees at most' in CONCEPTS


def test_examples_in_python_name_what_exists():
    for page in (README, STEPS, DEPLOYING, EARLIER, CONCEPTS):
        for module, names in re.findall(r'^from (anklealign[\w.]*) import (.*)$', page, re.M):
            assert [o for o in names.split(', ') if not hasattr(importlib.import_module(module), o)] == []


def test_an_answer_reads_as_the_readme_shows(user):
    said = Predictor()(user.home/'photo.jpg').sentences()
    heel, named = re.search(r'An answer reads \*Left(.*?), (.*?)\.\*', README).groups()
    assert re.sub(r'−?\d+', '#', heel) == re.sub(r'−?\d+', '#', said[0].replace('inverted', 'everted')).removeprefix('Right').partition(',')[0] and named in CLASSES


def test_messages_that_the_guide_explains_are_given():
    guide = markdown('guides/your_data.ipynb')
    code = '\n'.join(o.read_text(encoding='utf-8') for o in (ROOT/'anklealign').rglob('*.py'))
    parts = [part for row in re.findall(r'^\| \*([^|]+)\*[^|]*\| [^|]+ \| [^|]+ \|$', guide, re.M) for part in row.split(' … ')]
    assert len(parts) >= 6 and [o for o in parts if o.replace('supination', '{').split('{')[0].strip() not in code] == []


STORED_AS_IT_IS = {o.stem: o.read_text(encoding='utf-8') for o in sorted((ROOT/'anklealign/results').glob('*.txt'))}
NUMBER = r'[+-]?\d*\.\d+'
STORED = re.sub(r'(?<![\d.])0\.', '.', '\n'.join(STORED_AS_IT_IS.values()))
MEASURED = {tuple(x.lstrip('+') for x in o) for o in re.findall(rf'({NUMBER})\s+\(({NUMBER})(?: to |-)({NUMBER})\)', STORED)}


@pytest.mark.parametrize('name', ['index.ipynb', '03_transfer.ipynb', 'guides/step_by_step.ipynb', 'guides/measuring.ipynb', 'guides/deploying.qmd'])
def test_figures_with_an_interval_are_those_that_were_measured(name):
    page = ROOT/'nbs'/name
    text = page.read_text(encoding='utf-8') if page.suffix == '.qmd' else markdown(name)
    said = re.findall(rf'({NUMBER})(?: of [\w-]+)? \(({NUMBER}) to ({NUMBER})', re.sub(r'(?<![\d.])0\.', '.', text.replace('−', '-')))
    assert [o for o in said if tuple(x.lstrip('+') for x in o) not in MEASURED] == []
    assert len(said) >= {'index.ipynb': 7, '03_transfer.ipynb': 2, 'guides/deploying.qmd': 1}.get(name, 0)


def test_the_note_on_narrow_intervals_says_what_was_measured():
    few, n_few, many, n_many = re.search(r'^macro_f1 +\S+ +([\d.]+) +[\d.]+ +(\d+) +\S+ +([\d.]+) +[\d.]+ +(\d+)', STORED_AS_IT_IS['verdict_coverage'], re.M).groups()
    assert f'{float(few):.0f}% with 40 people (n = {n_few} studies) and in {float(many):.0f}% with {_MANY} (n = {n_many})' in _NARROW


def test_counts_beside_the_figures_are_those_of_the_measurement():
    heels, classes = (re.sub(r'\s+', ' ', STORED_AS_IT_IS[o]) for o in ('heels', 'demo_bundle'))
    assert '1679 feet of 500 people' in heels and '1,679 heels, 500 people' in README and f"| {re.search(r'always the median, MAE ([0-9.]+)', heels)[1]} |" in README
    assert '14 heels, 3 people' in heels and 'three people it finds all 14 heels' in README
    assert '965 synthetic pictures (phantoms) of 265 people' in classes and '965 pictures, 265 people' in README
    silent = re.search(r'no answer to (\d+) of them', classes)[1]
    assert f'no answer to {silent} of the 965' in README


def test_speeds_and_defaults_in_the_prose_are_those_of_the_code():
    answers, evaluation, own = (markdown(o) for o in ('05_deploy.ipynb', '04_eval.ipynb', 'guides/your_data.ipynb'))
    took, start = (float(re.search(rf'^{o} +([\d.]+)$', STORED_AS_IT_IS['serve'], re.M)[1]) for o in ('answer', 'anklealign predict one.jpg'))
    assert '1.9 MB of a 12-megapixel JPEG' in STORED_AS_IT_IS['serve'] and f'12-megapixel JPEG of 1.9 MB in {took:.0f} milliseconds' in answers
    assert round(start, 1) == .5 and 'in half a second' in answers
    assert 'the quick recipes, ' + ' and '.join(f'`{o}`' for o in QUICK_RECIPES) in evaluation
    suffixes = [o.lower() for o in re.search(r'^([\w, ]+) and (\w+) are read, whatever the extension', own, re.M).group(0).split(' are')[0].replace(' and', ',').split(', ')]
    assert len(suffixes) == 7 and {f'.{o}' for o in suffixes} <= IMAGE_SUFFIXES
    known = {o.name: o for o in dataclasses.fields(Recipe)}
    assert known['lr'].default == 1e-3 and known['batch_size'].default == 16 and known['epochs'].default == 20 # as the chapter on the baseline says
    assert 'Adam at 1e-3, batches of 16, cross-entropy and 20 epochs are its defaults' in markdown('01_baseline.ipynb')
