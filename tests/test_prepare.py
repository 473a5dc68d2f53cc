"""`anklealign prepare`, end to end: repeatable, safe, and one clear sentence for whatever is wrong."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path

import pytest
from conftest import SEVERAL, content, picture, task, write_study
from PIL import Image

from anklealign.core import ImageSettings, Settings
from anklealign.data import prepare
from anklealign.storage import recover
from anklealign.study.files import walk
from anklealign.study.preprocess import check_picture

STUDY = 'output/processed'
SMALL = {'ANKLEALIGN_IMAGES_SIZE': '64'}


def manifest_rows(home): return (home/STUDY/'metadata.csv').read_text().splitlines()[1:]


def test_same_input_same_bytes(raw, ankle, tmp_path):
    ankle('prepare', raw, **SEVERAL)
    first = content(ankle.home/STUDY)
    shutil.copytree(raw, tmp_path/'moved'/'raw')
    shutil.rmtree(ankle.home/'output')
    ankle('prepare', tmp_path/'moved'/'raw')
    again = content(ankle.home/STUDY)
    assert len(first) == 36 + 12 # manifest, ratings, items, reports, listing, journal; tables of annotators and plots
    assert {k for k in first if first[k] != again.get(k)} <= {'.journal.jsonl'}


def test_zip_gives_what_the_folder_gives(prepared, ankle, tmp_path):
    first = content(ankle.home/STUDY)
    shutil.make_archive(str(tmp_path/'raw'), 'zip', tmp_path/'raw')
    ankle('prepare', tmp_path/'raw.zip', '--output', 'zipped', **SMALL)
    again = content(ankle.home/'zipped'/'processed')
    assert {k for k in first if first[k] != again.get(k)} == {'.journal.jsonl', 'report.json', 'report.md'}
    assert not (ankle.home/'zipped'/'.staging').exists()


def test_only_what_changed_is_done_again(prepared, ankle, tmp_path):
    before = content(ankle.home/STUDY/'images')
    changed, *others = sorted((tmp_path/'raw').rglob('*.jpg'))
    changed.write_bytes(picture(77))
    for file in others: # nobody can tell without opening them
        at = file.stat()
        file.write_bytes(file.read_bytes()[:100].ljust(at.st_size, b'?'))
        os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    ankle('prepare', tmp_path/'raw', **SMALL)
    after = content(ankle.home/STUDY/'images')
    assert [k for k in after if after[k] != before[k]] == ['D6AE9F__sajat_resztvevo01_01.jpg']


def test_changed_settings_change_every_picture(prepared, ankle, tmp_path):
    assert {Image.open(p).size for p in (ankle.home/STUDY/'images').iterdir()} == {(64, 64)}
    ankle('prepare', tmp_path/'raw', ANKLEALIGN_IMAGES_SIZE='96')
    assert {Image.open(p).size for p in (ankle.home/STUDY/'images').iterdir()} == {(96, 96)}


@pytest.mark.parametrize('after', [.7, *(pytest.param(o, marks=pytest.mark.slow) for o in (.35, 1.1))])
def test_killed_at_any_moment(ankle, tmp_path, after):
    raw = write_study(tmp_path/'raw', people=60)
    command = [Path(sys.executable).with_name('anklealign'), 'prepare', raw]
    ankle('prepare', raw)
    complete = content(ankle.home/STUDY)
    (ankle.home/STUDY/'.journal.jsonl').unlink()
    running = subprocess.Popen(command, cwd=ankle.home, stdout=subprocess.DEVNULL)
    time.sleep(after)
    running.send_signal(signal.SIGKILL)
    running.wait()
    (ankle.home/STUDY/'.journal.jsonl').exists() or (ankle.home/STUDY/'.journal.jsonl').write_bytes(complete['.journal.jsonl'])
    assert content(ankle.home/STUDY) == complete
    ankle('prepare', raw)
    assert content(ankle.home/STUDY) == complete
    assert sorted(os.listdir(ankle.home/'output')) == ['processed']


def prepare_in_a_fork(raw, output, size, stop=0):
    "Prepare, and be gone without a word before the file `stop` below `output` is opened, made, renamed or removed; the exit code."
    child = os.fork()
    if child: return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [stop]
    def count(event, args):
        if event in ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link') and str(args[0]).startswith(str(output)):
            left[0] -= 1
            if left[0] == 0: os._exit(9)
    try:
        sys.addaudithook(count)
        prepare(raw, output, Settings(images=dict(size=size, workers=1)), plots=False) # which take most of the time
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@pytest.fixture(scope='module')
def raws(tmp_path_factory):
    "A raw study, the same with one picture more, both as folder and archive; and what preparing each with two sizes gives."
    place = tmp_path_factory.mktemp('raws')
    write_study(place/'small', people=6, photos=1)
    shutil.copytree(place/'small', place/'more')
    (place/'more/D6AE9F/sajat_resztvevo01_01.jpg').write_bytes(picture(99))
    raws = [place/'small', place/'more', *(Path(shutil.make_archive(str(place/o), 'zip', place/o)) for o in ('small', 'more'))]
    whole = {}
    for raw in raws:
        for size in (64, 96):
            assert prepare_in_a_fork(raw, place/f'{raw.name} {size}', size) == 0
            whole[raw, size] = content(place/f'{raw.name} {size}'/'processed')
    return whole


@pytest.mark.parametrize('seed', [0, *(pytest.param(o, marks=pytest.mark.slow) for o in range(1, 6))])
def test_after_any_stopped_runs_a_finished_study_is_one_made_from_nothing(raws, tmp_path, seed):
    draw, output, there = random.Random(seed), tmp_path/'output', {}
    for _ in range(4):
        raw, size = draw.choice(list(raws))
        code = prepare_in_a_fork(raw, output, size, draw.choice((0, draw.randrange(1, 80), draw.randrange(1, 80))))
        assert code in (0, 9)
        now = content(recover(output/'processed'))
        assert now == raws[raw, size] or code == 9 and now == there
        there = now
    raw, size = draw.choice(list(raws))
    assert prepare_in_a_fork(raw, output, size) == 0
    assert content(output/'processed') == raws[raw, size] and os.listdir(output) == ['processed']


@pytest.mark.parametrize('stop', [9, 60])
def test_pictures_of_a_stopped_run_with_other_settings_are_not_used(raws, tmp_path, stop):
    raw, size = next(iter(raws))
    assert prepare_in_a_fork(raw, tmp_path/'o', size) == 0
    before = content(tmp_path/'o/processed')
    assert prepare_in_a_fork(raw, tmp_path/'o', 32, stop) == 9
    for file in walk(raw): # what its processes have done and its journal does not know yet
        if file.kind == 'image': check_picture(str(raw), file, str(tmp_path/'o/.staging/work'), ImageSettings(size=32))
    assert content(tmp_path/'o/processed') == before == raws[raw, size]
    assert prepare_in_a_fork(raw, tmp_path/'o', size) == 0
    assert content(tmp_path/'o/processed') == before
    assert {o.stat().st_nlink for o in (tmp_path/'o/processed/images').iterdir()} == {1}


@pytest.mark.parametrize('file', ['metadata.csv', '.journal.jsonl', 'report.json', 'images/D6AE9F__sajat_resztvevo01_01.jpg'])
@pytest.mark.parametrize('damage', [b'', b'\xff\0garbage', b'image,source\n"', None])
def test_a_damaged_study_is_prepared_again(raws, tmp_path, file, damage):
    raw, size = next(iter(raws))
    shutil.copytree(raw.parent/f'{raw.name} {size}', tmp_path/'o')
    damaged = tmp_path/'o/processed'/file
    data = damaged.read_bytes()
    damaged.write_bytes(data.replace(b'1', b'2') if damage is None else damage)
    assert prepare_in_a_fork(raw, tmp_path/'o', size) == 0
    assert content(tmp_path/'o/processed') == raws[raw, size]


def test_processed_pictures_are_upright_and_hold_no_metadata(ankle, tmp_path):
    raw = write_study(tmp_path/'raw')
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 'Phone'
    exif[0x8825] = {1: 'N', 2: (47., 29., 33.)}
    (raw/'D6AE9F/sajat_resztvevo01_01.jpg').write_bytes(picture(5, (120, 60), exif=exif))
    ankle('prepare', raw)
    row = next(o for o in manifest_rows(ankle.home) if 'D6AE9F__sajat_resztvevo01_01.jpg' in o)
    assert ',60,120,' in row
    for p in (ankle.home/STUDY/'images').iterdir():
        im = Image.open(p)
        assert im.mode == 'RGB' and not im.getexif() and set(im.info) <= {'jfif', 'jfif_version', 'jfif_unit', 'jfif_density'}


def make(root, **files):
    for name, data in files.items():
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def bad_studies(d):
    yield 'nowhere', d/'nowhere', 'There is no'
    (d/'empty').mkdir()
    yield 'empty', d/'empty', 'is empty'
    yield 'no annotations', make(d/'plain', **{'a.jpg': picture(1)}), 'no annotations'
    yield 'no pictures', make(d/'blind', **{'e.json': json.dumps([task(1, 'a.jpg', 'neutral')])}), 'no picture'
    yield 'one class', one_class(d/'one'), 'neutral'
    yield 'few groups', write_study(d/'few', people=3, owners=('D6AE9F',)), 'group'
    yield 'deep', make(d/'deep', **{'a.jpg': picture(1), 'e.json': '['*10_000}), 'nested'
    yield 'not a zip', make(d/'odd', **{'a.zip': b'PK nonsense'})/'a.zip', 'Cannot unpack'
    with zipfile.ZipFile(d/'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a.bmp', bytes(2**28))
    yield 'bomb', d/'bomb.zip', 'zip bomb'


def one_class(root):
    write_study(root)
    for e in root.glob('*/export.json'): e.write_text(e.read_text().replace('1_Pronacio', 'neutral').replace('supination', 'neutral'))
    return root


def test_one_sentence_and_nothing_written_for_each_bad_study(ankle, tmp_path):
    for what, raw, expected in bad_studies(tmp_path):
        done = ankle('prepare', raw, code=1)
        assert expected in done.stderr, (what, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.endswith('.\n'), (what, done.stderr)
        assert not (ankle.home/'output').exists(), what


def test_hostile_files_are_reported_and_the_rest_is_used(raw, ankle, tmp_path):
    (tmp_path/'secret.jpg').write_bytes(picture(9))
    (raw/'D6AE9F/link.jpg').symlink_to(tmp_path/'secret.jpg')
    huge = bytearray(picture(3))
    at = huge.index(b'\xff\xc0') + 5
    huge[at:at + 4] = (50_000).to_bytes(2, 'big')*2
    make(raw, **{'D6AE9F/huge.jpg': bytes(huge), 'D6AE9F/cut.jpg': picture(4)[:900], 'D6AE9F/none.png': b'', 'D6AE9F/deep.json': '['*10_000, 'D6AE9F/broken.json': '[{"id": 1,'})
    (raw/'H51B9J/out.json').write_text(json.dumps([task(1, 'x', 'neutral', data={'image': '../../secret.jpg'})]))
    ankle('prepare', raw)
    report = json.loads((ankle.home/STUDY/'report.json').read_text())
    why = {o['item']: o['reason'] for o in report['items'] if o['outcome'] == 'dropped'}
    expected = {'D6AE9F/link.jpg': 'a link', 'D6AE9F/huge.jpg': 'too large', 'D6AE9F/cut.jpg': 'truncated', 'D6AE9F/none.png': 'empty',
                'D6AE9F/deep.json': 'nested', 'D6AE9F/broken.json': 'broken', 'H51B9J/out.json#1/100': 'leaves the study folder'}
    assert {k: w in why[k] for k, w in expected.items()} == dict.fromkeys(expected, True), why
    assert report['images']['used'] == 36


def test_wrong_settings(raw, ankle):
    assert "nearest one is 'size'" in ankle('prepare', raw, code=1, ANKLEALIGN_IMAGES_SIZ='3').stderr
    (ankle.home/'settings.ini').write_text('[split]\ntrain = 2\n')
    assert 'split.train' in ankle('prepare', raw, code=1).stderr
    ankle('prepare', raw, '--sead', '3', code=2)


def test_output_inside_raw_is_refused(raw, ankle):
    assert 'inside each other' in ankle('prepare', raw, '--output', raw/'out', code=1).stderr
    assert not (raw/'out').exists()


def test_somebodys_folder_is_not_overwritten(raw, ankle):
    make(ankle.home, **{f'{STUDY}/thesis.docx': 'years of work'})
    assert 'is not a study of anklealign' in ankle('prepare', raw, code=1).stderr
    assert (ankle.home/STUDY/'thesis.docx').read_text() == 'years of work'


def test_disk_full_leaves_the_old_study(prepared, ankle, tmp_path):
    before = content(ankle.home/STUDY)
    limit = f'import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, {resource.RLIM_INFINITY})); from anklealign.app.cli import app; app()'
    done = subprocess.run([sys.executable, '-c', limit, 'prepare', str(tmp_path/'raw')], cwd=ankle.home, capture_output=True, text=True, env=os.environ | {'ANKLEALIGN_IMAGES_SIZE': '400'})
    assert done.returncode == 1 and 'Cannot write' in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert content(ankle.home/STUDY) == before and not (ankle.home/'output/.staging').exists()


def test_interrupted_leaves_nothing(ankle, tmp_path):
    raw = write_study(tmp_path/'raw', people=200)
    running = subprocess.Popen([Path(sys.executable).with_name('anklealign'), 'prepare', raw], cwd=ankle.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (ankle.home/'output/.staging/journal.jsonl').exists(): break
        time.sleep(.01)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=30)
    assert running.returncode == 1 and 'interrupted' in error and len(error.splitlines()) == 1, error
    assert not (ankle.home/'output').exists()


def test_help_is_quick_to_load(ankle):
    heavy = "import sys, anklealign.app.cli; sys.exit(bool({'torch', 'fastai', 'matplotlib', 'pandas', 'scipy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', heavy]).returncode == 0
    for command in ([], ['prepare'], ['train'], ['evaluate'], ['run'], ['demo'], ['phantom']): assert 'Example' in ankle(*command, '--help').stdout or not command


def test_called_from_standard_input(raw, tmp_path):
    code = f'from anklealign.data import prepare, summary\nprint(summary(prepare({str(raw)!r}, "out", plots=False))[0])\n'
    done = subprocess.run([sys.executable, '-'], input=code, cwd=tmp_path, capture_output=True, text=True)
    assert '36 used' in done.stdout, done.stderr


def test_a_picture_that_crashes_its_decoder_is_reported_and_the_rest_is_used(raw, ankle, tmp_path):
    (raw/'D6AE9F/sajat_resztvevo01_01.jpg').write_bytes(picture(3) + b'CRASH')
    (tmp_path/'site').mkdir()
    (tmp_path/'site/sitecustomize.py').write_text(
        'import os, anklealign.study.preprocess as p\nreal = p.open_picture\n'
        'def crash(data, **kw):\n    if data.endswith(b"CRASH"): os._exit(11)\n    return real(data, **kw)\np.open_picture = crash\n')
    ankle('prepare', raw, shell=True, PYTHONPATH=str(tmp_path/'site'), **SEVERAL)
    report = json.loads((ankle.home/STUDY/'report.json').read_text())
    assert report['reasons']['images'] == {'its decoder crashed': 1} and report['images']['used'] == 35
