"""A small raw study of drawn pictures, and a way to run the command as a user does."""
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

signal.signal(signal.SIGINT, signal.default_int_handler) # a shell that starts the tests in the background has it ignored, and what they start would inherit that

QUICK = {'ANKLEALIGN_EVALUATE_ROUNDS': '200', 'ANKLEALIGN_EVALUATE_ROBUSTNESS': '1'} # what an evaluation spends its time on
SPELLINGS = ('1_Pronacio', '2_Neutrális', 'supination')


def picture(seed, size=(96, 120), **save):
    "A JPEG of smooth noise, different for each seed."
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (7, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(out, 'JPEG', **save)
    return out.getvalue()


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


@pytest.fixture
def ankle(tmp_path):
    "Run `anklealign` with arguments in a folder of its own; returns the finished process."
    home = tmp_path/'cwd'
    home.mkdir()
    def run(*args, code=0, **env):
        done = subprocess.run([Path(sys.executable).with_name('anklealign'), *map(str, args)], cwd=home, capture_output=True, text=True, env=os.environ | QUICK | env)
        assert done.returncode == code, done.stdout + done.stderr
        return done
    run.home = home
    return run


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
