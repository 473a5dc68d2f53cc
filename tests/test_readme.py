"""Every command of the README, typed as it stands there and in its order; only trainings are short, and synthetic pictures few."""
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from conftest import QUICK, SEVERAL, content, make_ankle, write_study

from anklealign.assets import demo_study

ROOT = Path(__file__).parents[1]
README = (ROOT/'README.md').read_text(encoding='utf-8')
SHORT = {'ANKLEALIGN_IMAGES_SIZE': '64', 'ANKLEALIGN_TRAIN_SIZE': '32', 'ANKLEALIGN_TRAIN_EPOCHS': '1', 'BROWSER': 'true'} | SEVERAL
TYPED = [shlex.split(line, comments=True) for block in re.findall(r'^```sh\n(.*?)```', README, re.M | re.S) for line in block.splitlines()]
INLINE = [shlex.split(o) for o in re.findall(r'`((?:anklealign|pip) [^`]+)`', README)]


DEPLOYING = (ROOT/'nbs/guides/deploying.qmd').read_text(encoding='utf-8')
DOCKER = [shlex.split(o, comments=True) for o in re.findall(r'^docker .*', DEPLOYING, re.M)]


def of(*start): return [o[len(start):] for o in (*TYPED, *INLINE) if o[:len(start)] == [*start]]


@pytest.fixture(scope='module')
def user(tmp_path_factory):
    "`anklealign` in the folder of somebody with a photo and pictures of their own."
    ankle = make_ankle(tmp_path_factory.mktemp('user'), QUICK)
    write_study(ankle.home/'my_pictures')
    with zipfile.ZipFile(demo_study()) as z:
        for name, photo in zip(('photo.jpg', 'again.jpg'), (o for o in z.namelist() if o.endswith('.jpg')), strict=False): (ankle.home/name).write_bytes(z.read(photo))
    return ankle


def test_two_commands(tmp_path):
    plain = {k: v for k, v in os.environ.items() if not k.startswith('MAKE')} # `make test` calls this
    made = {name: subprocess.run(['make', '-n', name], cwd=ROOT, check=True, capture_output=True, text=True, env=plain).stdout for name, in of('make')}
    last = {name: o.splitlines()[-1] for name, o in made.items()}
    assert last['demo'].endswith('/anklealign demo') and last['test'].endswith('tests/all.sh') and len(last) == 2
    ankle = make_ankle(tmp_path, QUICK)
    assert 'To go on with this study' in ankle('demo', **SHORT).stdout
    assert (ankle.home/'output/demo/evaluation/measured/report.html').exists()


def test_from_pictures_to_an_answer(user):
    apart = {'serve', 'phantom'} # have a test of their own
    typed = [o[1:] for o in TYPED if o[0] == 'anklealign' and o[1] not in apart]
    assert [o[0] for o in typed] == ['predict', 'predict', 'run', 'prepare', 'train', 'evaluate', 'compare', 'protocols', 'predict', 'bundle']
    said = [user(*o, **SHORT).stdout for o in typed]
    assert '2 of 2 photos together' in said[1]
    assert 'demonstration model, trained on synthetic pictures' in said[0] and 'demonstration model' not in said[-2]
    output = user.home/'output'
    assert {o.name for o in (output/'models').iterdir() if o.name[0] != '.'} == {'baseline', 'measured'}
    assert (output/'bundles/measured.zip').exists() and 'https' not in said[-1]
    named = re.findall(r'^\| [^|]+ \| (`output/.*) \|$', README, re.M) # in the table of what is where
    files = [o.replace('<run>', 'measured').replace('<recipe>', 'measured') for row in named for o in re.findall(r'`(output/[^`]+)`', row)]
    assert len(files) == 9
    missing = [o for o in files if not (user.home/o).exists()] # pictures of noise teach a model nothing
    assert missing == ['output/evaluation/measured/doubtful_labels.csv']


def test_the_service(user):
    with socket.create_server(('127.0.0.1', 0)) as free: port = free.getsockname()[1]
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
    assert all((ROOT/'compose.yaml').read_text().count(o) for o in ('pipeline:', 'lab:', 'serve:'))
    extras = {e for o in of('pip', 'install') for e in re.findall(r'\[(\w+)\]', o[0])}
    assert extras <= set(re.findall(r'^(\w+) = \[', (ROOT/'pyproject.toml').read_text(), re.M))
    assert {o[0] for o in TYPED} == {'make', 'anklealign'} and {o[1] for o in INLINE if o[0] != 'pip'} <= {'phantom', 'serve', '--help', 'predict', 'run'}
