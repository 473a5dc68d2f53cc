"""The law of the data path: whatever tree it is given, everything found is used or reported, once, with a reason."""
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anklealign.core import CLASSES, ImageSettings, Settings
from anklealign.data import account, entries
from anklealign.study.manifest import read_folder
from anklealign.study.matching import match
from anklealign.study.preprocess import Stage, check
from anklealign.study.votes import label

SETTINGS = Settings(images=ImageSettings(size=32, workers=1))


def jpeg(seed):
    "A small picture, different for each seed."
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 4, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels).resize((48, 60)))


CONTENT = [jpeg(i) for i in range(6)] + [jpeg(0)[:200], b'', b'<html>no picture</html>', b'{"a": 1}', b'\0\1\2']
NAMES = ['0.png', '1.jpg', 'boka állás.jpg', 'bokaállás.jpg', 'scan.jpg', 'deadbeef-scan.jpg', 'scan_2.jpg', 'sajat_resztvevo01_02.jpg', 'x.heic', 'notes.txt', '.DS_Store']
FOLDERS = ['', 'D6AE9F', 'H51B9J', 'D6AE9F/pronation', 'anklealign/anklealign/consensus', 'internet_1', '__MACOSX']
SAID = ['1_Pronacio', '2_Neutrális', 'Supination', ' pronation ', 'talán', '', ['pronation', 'neutral'], None]
REFS = [*NAMES, '/data/upload/1/1a2b3c4d-scan.jpg', r'anklealign\D6AE9F\0.png', '../secret.jpg', '/etc/passwd', 'http://x.example/1.jpg', 'data:image/png;base64,AAAA', 7, None]

paths = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)).map(lambda o: '/'.join(filter(None, o)))
pictures = st.dictionaries(paths, st.sampled_from(CONTENT), max_size=14)


@st.composite
def annotation(draw):
    "An annotation, mostly well-formed."
    choice = draw(st.sampled_from(SAID))
    value = {} if choice is None else {'choices': choice if isinstance(choice, list) else [choice]}
    result = draw(st.sampled_from([[], [{'type': 'choices', 'from_name': 'label', 'to_name': 'image', 'value': value}]]))
    return draw(st.sampled_from([{'id': draw(st.integers(1, 5)), 'completed_by': draw(st.sampled_from([1, 2, {'id': 3}, None])), 'result': result,
                                  'was_cancelled': draw(st.booleans()), 'created_at': f'2025-10-1{draw(st.integers(0, 9))}T10:00:00Z'}, None, 'odd', {}]))


task = st.builds(lambda i, ref, a: {'id': i, 'data': {'image': ref}, 'annotations': a}, st.integers(1, 6), st.sampled_from(REFS), st.lists(annotation(), max_size=4))
exports = st.dictionaries(st.sampled_from(FOLDERS), st.lists(task, max_size=6), max_size=3)


@pytest.mark.parametrize('examples', [60, pytest.param(300, marks=pytest.mark.slow)])
def test_everything_found_is_used_or_reported(examples):
    law = given(pictures, exports)(everything_is_used_or_reported)
    settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))(law)()


def everything_is_used_or_reported(pictures, exports):
    with tempfile.TemporaryDirectory() as d:
        root = Path(d)/'raw'
        root.mkdir()
        for path, content in pictures.items():
            (root/path).parent.mkdir(parents=True, exist_ok=True)
            (root/path).write_bytes(content)
        for folder, tasks in exports.items():
            (root/folder).mkdir(parents=True, exist_ok=True)
            (root/folder/'export.json').write_text(json.dumps(tasks))
        with Stage(Path(d)/'output') as stage: study = label(check(match(read_folder(root, SETTINGS)), stage, SETTINGS.images))
        on_disk = Counter(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())
    items = entries(study)
    sums = account(items)
    assert Counter(items.item[items.kind != 'annotation']) == on_disk
    written = sum(len(t['annotations']) for folder, tasks in exports.items() if folder != '__MACOSX' for t in tasks)
    assert sums['annotations']['found'] == written
    votes = int(study.used[[f'votes_{c}' for c in CLASSES]].to_numpy().sum())
    assert (sums['images']['used'], sums['annotations']['votes']) == (len(study.used), votes)
    json.dumps(items.to_dict('records'))
