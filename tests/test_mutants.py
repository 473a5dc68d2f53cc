"""Some of the mutants that `benchmarks/campaigns.py` tries by the thousand: nothing of what lies beside a study stops it."""
import json
import os
import signal
import socket
import warnings
import zipfile

import pytest
from mutants import TINY, archive, bundle, control, damage_study, mutant, wrong_with_archive, wrong_with_bundle, wrong_with_study

from anklealign.core import AnklealignError, load_settings
from anklealign.data import prepare
from anklealign.decision import validation_answers
from anklealign.images import open_picture
from anklealign.study.manifest import read_manifest
from anklealign.training.callbacks import read_checkpoint
from anklealign.training.runs import load_run


@pytest.mark.parametrize('seed', [0, 20, *(pytest.param(o, marks=pytest.mark.slow) for o in range(40, 200, 20))])
def test_no_mutant_stops_a_study(tmp_path, seed):
    raw = control(tmp_path/'raw')
    for i in range(seed, seed + 20): mutant(raw, i, f'H51B{i - seed:02}')
    assert wrong_with_study(raw, tmp_path/'o') == ''
    damage_study(tmp_path/'o/processed', seed)
    assert wrong_with_study(raw, tmp_path/'o') == ''


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('seeds', [range(0, 60, 5), pytest.param([o for o in range(60) if o % 5], marks=pytest.mark.slow)], ids=['some', 'others'])
def test_no_archive_is_an_error_of_its_own(tmp_path, seeds):
    raw = control(tmp_path/'raw')
    prepare(raw, tmp_path/'there/o', TINY)
    for i in seeds:
        archive(raw, tmp_path/'a.zip', i)
        assert (i, wrong_with_archive(tmp_path/'a.zip', tmp_path/'there/o')) == (i, '')


@pytest.mark.parametrize('seed', range(8))
def test_no_bundle_is_an_error_of_its_own(tmp_path, seed): assert wrong_with_bundle(bundle(tmp_path/'b', seed)) == ''


def in_a_run(place): load_run(place.parent)
def in_a_study(place): read_manifest(place.parent)


WAITING = {'settings.ini': load_settings, 'photo.jpg': open_picture, 'study.zip': lambda o: prepare(o, o.parent/'o', TINY), 'config.json': in_a_run, 'model.safetensors': in_a_run,
           'checkpoint.safetensors': read_checkpoint, 'metadata.csv': in_a_study, 'valid_predictions.csv': lambda o: validation_answers(o.parent)}


@pytest.mark.parametrize('name', WAITING)
@pytest.mark.parametrize('kind', ['pipe', 'socket', 'device'])
def test_what_is_no_file_is_not_waited_for(tmp_path, name, kind):
    place = tmp_path/name
    if kind == 'pipe': os.mkfifo(place)
    elif kind == 'device': place.symlink_to('/dev/zero')
    else:
        with socket.socket(socket.AF_UNIX) as s: s.bind(str(place))
    signal.alarm(60)
    try:
        with pytest.raises(AnklealignError) as e: WAITING[name](place)
        assert str(e.value).count('\n') == 0
    finally: signal.alarm(0)


def test_many_files_of_one_name_in_an_archive(tmp_path):
    raw, link = control(tmp_path/'raw'), zipfile.ZipInfo('D6AE9F/participant01_1.jpg')
    link.external_attr = 0o120777 << 16
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        warnings.simplefilter('ignore')
        for p in sorted(raw.rglob('*.*')): z.write(p, p.relative_to(raw))
        for _ in range(3): z.writestr(link, '/etc/passwd'), z.writestr('D6AE9F/participant01_1.jpg', b'another')
    report = json.loads((prepare(tmp_path/'a.zip', tmp_path/'o', TINY)/'report.json').read_text())
    names = [o['item'] for o in report['items'] if o['kind'] == 'image']
    assert report['images']['used'] == 9 and len(names) == len(set(names)) == 15
