"""A small raw study of drawn pictures, and a way to run the command as a user does."""
import gc
import io
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, redirect_stdout
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from playwright.sync_api import sync_playwright

signal.signal(signal.SIGINT, signal.default_int_handler) # a shell that starts the tests in the background has it ignored, and what they start would inherit that

QUICK = {'ANKLEALIGN_EVALUATE_ROUNDS': '200', 'ANKLEALIGN_EVALUATE_ROBUSTNESS': '1', 'ANKLEALIGN_EVALUATE_SHIPPED_MODEL': 'no', # what an evaluation spends its time on
         'ANKLEALIGN_IMAGES_WORKERS': '1'} # a few small pictures do not make up for the start of processes
PLAIN = QUICK | {'ANKLEALIGN_TRAIN_RECIPE': 'baseline'} # drawn noise shows no heels to measure
SEVERAL = {'ANKLEALIGN_IMAGES_WORKERS': '0'} # a process for each core, as users have it
SPELLINGS = ('1_Pronacio', '2_Neutrális', 'supination')


def pytest_collection_modifyitems(items):
    "The longest first: no worker should be left alone with them at the end."
    first = ['test_readme.py', 'test_train.py', 'test_run.py']
    items.sort(key=lambda o: first.index(o.path.name) if o.path.name in first else len(first))


def pytest_collection_finish():
    gc.freeze() # what has been imported need not be searched for garbage again and again


def saved(im, kind='JPEG', **how):
    "A picture as the bytes of a file."
    out = io.BytesIO()
    im.save(out, kind, **how)
    return out.getvalue()


def picture(seed, size=(96, 120), **how):
    "A JPEG of smooth noise, different for each seed."
    pixels = np.random.default_rng(seed).integers(0, 255, (7, 6, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), **how)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as o: return o.getsockname()[1]


@contextmanager
def web(handler):
    "The address of a web server in a thread of this process."
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try: yield f'http://127.0.0.1:{server.server_port}/'
        finally: server.shutdown()


def task(i, name, *answers, month=10, **more):
    "One task of a Label Studio export."
    annotations = [{'id': 100*i + j, 'completed_by': j + 1, 'created_at': f'2025-{month:02}-{i % 28 + 1:02}T{i // 28 % 24:02}:{j:02}:00Z', 'was_cancelled': False,
                    'result': [{'type': 'choices', 'from_name': 'label', 'to_name': 'image', 'value': {'choices': [o]}}]} for j, o in enumerate(answers)]
    return {'id': i, 'data': {'image': f'/data/upload/1/{i:08x}-{name}'}, 'file_upload': f'{i:08x}-{name}', 'annotations': annotations, **more}


def write_study(root, owners=('D6AE9F', 'H51B9J'), people=9, photos=2):
    "Owners who each photographed `people` participants, three classes in turn."
    for k, owner in enumerate(owners):
        (root/owner).mkdir(parents=True)
        tasks = []
        for p in range(people):
            for j in range(photos):
                name = f'sajat_resztvevo{p + 1:02}_{j + 1:02}.jpg'
                (root/owner/name).write_bytes(picture(1000*k + 10*p + j))
                tasks.append(task(len(tasks) + 1, name, SPELLINGS[p % 3], month=10 + k))
        (root/owner/'export.json').write_text(json.dumps(tasks))
    return root


@pytest.fixture
def raw(tmp_path): return write_study(tmp_path/'raw')


def fresh(command, home, env):
    "The command in a process of its own, as a shell starts it."
    return subprocess.run([Path(sys.executable).with_name('anklealign'), *command], cwd=home, capture_output=True, text=True, env=os.environ | env)


@cache
def warmed():
    "The command, when this process has done what takes seconds the first time: imports, a plot, an ONNX graph. Its forks need not."
    import fastai.vision.all  # noqa: F401
    from matplotlib.figure import Figure
    from torch import nn, onnx, zeros

    from anklealign.app.cli import app
    Figure(layout='constrained').subplots().figure.savefig(io.BytesIO())
    with redirect_stdout(io.StringIO()): onnx.export(nn.Conv2d(3, 3, 3).eval(), (zeros(1, 3, 8, 8),), dynamo=True, verbose=False)
    return app


def begun(command, home, env, out, err):
    "The process id of the command in a fork of this process: that saves seconds a command."
    app = warmed()
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child: return child
    code = 70
    gc.freeze() # a training ends with a search for garbage: what is there already need not be searched each time
    try:
        os.chdir(home)
        os.environ.update(env)
        for there, here in ((os.open(os.devnull, os.O_RDONLY), 0), (out.fileno(), 1), (err.fileno(), 2)): os.dup2(there, here)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(i), m, **how) for i, m, how in ((0, 'r', {}), (1, 'w', {'buffering': 1}), (2, 'w', {})))
        try: app(command, prog_name='anklealign')
        except SystemExit as e: code = e.code or 0
        sys.stdout.flush(), sys.stderr.flush()
    except BaseException: traceback.print_exc()
    finally: os._exit(code)


def forked(command, home, env):
    "What the command in such a fork leaves."
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        code = os.waitstatus_to_exitcode(os.waitpid(begun(command, home, env, out, err), 0)[1])
        for o in (out, err): o.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def apart(work):
    "Do `work` in a fork of this process: PyTorch lets no fork train once the process itself has."
    child = multiprocessing.get_context('fork').Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0


def make_ankle(place, always=PLAIN):
    "A function that runs `anklealign` in the folder `cwd` of `place` and returns what it said; with `shell=True` as a shell starts it."
    home = place/'cwd'
    home.mkdir(exist_ok=True)
    def run(*args, code=0, shell=sys.platform != 'linux', **env):
        done = (fresh if shell else forked)([str(o) for o in args], home, always | env)
        assert done.returncode == code, done.stdout + done.stderr
        return done
    run.home = home
    return run


@pytest.fixture
def ankle(tmp_path): return make_ankle(tmp_path)


@pytest.fixture(scope='session')
def made_once(tmp_path_factory):
    "A function that gives the folder `name`, made by `make(folder)` in the first worker that asks: the others wait and use it too. None may change it."
    place = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: place = place.parent # that of all workers
    def once(name, make):
        folder, made = place/name, place/f'{name}.made'
        with FileLock(place/f'{name}.lock'):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True) # of a worker that failed
                folder.mkdir()
                make(folder)
                made.touch()
        return folder
    return once


def prepare_once(place):
    "In `place`: a raw study, and the folder `cwd` in which it has been prepared."
    make_ankle(place)('prepare', write_study(place/'raw'), ANKLEALIGN_IMAGES_SIZE='64')


@pytest.fixture
def prepared(made_once, tmp_path):
    "The folder `cwd` of `tmp_path`, in which the study `raw` has been prepared."
    shutil.copytree(made_once('prepared', prepare_once), tmp_path, dirs_exist_ok=True)
    return tmp_path/'cwd'


def content(folder):
    "Every file below `folder` with its bytes."
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob('*')) if p.is_file()}


@pytest.fixture(scope='session')
def browser():
    "Headless Chromium, driven by Playwright."
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not path: pytest.fail('This test needs Chromium and there is none: install it with `apt install chromium`.', pytrace=False)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    "Open an address in a window of its own; what the page says on the console and asks for are in `said` and `asked`."
    contexts = []
    def open_at(address, timeout=30_000, **how):
        contexts.append(browser.new_context(**how))
        page = contexts[-1].new_page()
        page.set_default_timeout(timeout)
        page.said, page.asked = [], []
        page.on('console', lambda o: page.said.append(o.text))
        page.on('pageerror', lambda o: page.said.append(str(o)))
        contexts[-1].on('request', lambda o: page.asked.append(o.url))
        page.goto(address)
        return page
    yield open_at
    for o in contexts: o.close()
