"""What people who do this work reported, case by case, each with its right answer."""
import base64
import csv
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from conftest import apart, picture, saved, task, web, write_study
from PIL import Image, PngImagePlugin

from anklealign.core import AnklealignError, Settings, StudySettings, load_settings
from anklealign.data import prepare
from anklealign.images import PictureError, open_picture, pixel_digest
from anklealign.storage import demo_bundle, demo_study
from anklealign.study.files import walk
from anklealign.study.labelstudio import read_export
from anklealign.training.recipes import recipes
from anklealign.training.train import train

CASES = Path(__file__).with_name('cases')
SAID = 'pronation', 'neutral', 'supination'
PEOPLE = [f'participant{p:02}_{j}.jpg' for p in range(1, 10) for j in (1, 2)]
ODD = ['50%.jpg', 'a=b.jpg', 'heel & toe.jpg', 'heel#2.jpg', 'heel+left.jpg', 'plus+and space.jpg', 'q?1.jpg', 'x;y.jpg']
CONTROLS = ['labels', 'number', 'ranker', 'rating', 'rectanglelabels', 'taxonomy', 'textarea']


def pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names): (folder/name).write_bytes(picture([sum(map(ord, folder.name)), i]))
    return folder


def labelled(raw, owner, names, which, first=0):
    "A raw folder in which an owner's pictures have labels; `which` gives the class of a task."
    tasks = [task(i, o, SAID[which(i)]) for i, o in enumerate(names, first)]
    (pictures(raw/owner, names)/'export.json').write_text(json.dumps(tasks))
    return raw


def control_group(raw):
    "Eighteen pictures that must be used in any case."
    return labelled(raw, 'D6AE9F', PEOPLE, lambda i: (i - 1)//2 % 3, 1)


def case(raw, name, names=PEOPLE):
    "The control group, and beside it the owner H51B9J with the export of a case."
    control_group(raw)
    (pictures(raw/'H51B9J', names)/'export.json').write_bytes((CASES/f'{name}.json').read_bytes())
    return raw


def prepared(raw, output, **study):
    "Report and manifest of `raw`."
    made = prepare(raw, output, Settings(images={'workers': 1, 'size': 64}, study=StudySettings(**study)), plots=False)
    return json.loads((made/'report.json').read_text()), list(csv.DictReader((made/'metadata.csv').open()))


def why_of(report, *kinds): return {o['item']: o['reason'] for o in report['items'] if not kinds or o['kind'] in kinds}


def reasons(report, kind='annotation'): return [o['reason'] for o in report['items'] if o['kind'] == kind and o['reason']]


@pytest.mark.parametrize(('name', 'names', 'used'), [
    ('L01', PEOPLE, 36), ('L01b', PEOPLE, 36), ('L03', PEOPLE, 36), ('L03b', PEOPLE, 36), ('L04', [*PEOPLE, 'example_neutral.jpg'], 36),
    ('L05', ODD, 26), ('L05c', ODD, 26), ('L10', ['x.jpg'], 19), ('L10b', PEOPLE, 36), ('L10c', PEOPLE, 36), ('L20', ['x.jpg'], 19)])
def test_exports(tmp_path, name, names, used):
    report, rows = prepared(case(tmp_path/'raw', name, names), tmp_path/'out')
    assert (report['images']['used'], 'H51B9J/example_neutral.jpg' in {o['source'] for o in rows}) == (used, False)
    assert {'the same annotation as'} >= set(report['reasons']['annotations'])


def test_whole_study_behind_a_sub_path_or_exported_twice_L01e_L10e(tmp_path):
    for name, times in (('L01', 1), ('L01', 2)):
        folder = pictures(tmp_path/f'raw{times}'/'D6AE9F', PEOPLE)
        (folder/'export.json').write_text(json.dumps(json.loads((CASES/f'{name}.json').read_text())*times))
        report, _ = prepared(folder.parent, tmp_path/f'out{times}')
        assert (report['images']['used'], report['annotations']['votes']) == (18, 18)


def test_target_storage_L02(tmp_path):
    raw = control_group(tmp_path/'raw')
    folder, template = pictures(raw/'H51B9J', PEOPLE), (CASES/'L02.json').read_text()
    for i, name in enumerate(PEOPLE, 1):
        label = SAID[(i - 1) // 2 % 3]
        text = template.replace('"id": 3', f'"id": {i}').replace('00000003-participant02_1.jpg', f'{i:08x}-{name}')
        (folder/str(i)).write_text(text.replace('10:00:03', f'10:00:{i:02}').replace('neutral', label))
    report, _ = prepared(raw, tmp_path/'out')
    assert report['images']['used'] == 36
    assert report['agreement']['annotators'] == 2 # not one a file
    assert [(o['export'], o['votes']) for o in report['exports']] == [('D6AE9F/export.json', 18), ('H51B9J/*', 18)]


def test_one_person_is_one_vote_in_target_storage(tmp_path):
    raw, text = control_group(tmp_path/'raw'), (CASES/'L02.json').read_text()
    folder = pictures(raw/'H51B9J', ['participant02_1.jpg'])
    (folder/'3').write_text(text)
    (folder/'4').write_text(text.replace('{"id": 3, "completed_by"', '{"id": 4, "completed_by"').replace('10:00:03', '11:00:03').replace('neutral', 'pronation'))
    report, rows = prepared(raw, tmp_path/'out')
    assert [o['label'] for o in rows if o['owner'] == 'H51B9J'] == ['pronation']
    assert report['annotations']['votes'] == 19


def test_two_picture_keys_L04c(tmp_path):
    raw = case(tmp_path/'raw', 'L04c')
    report, _ = prepared(raw, tmp_path/'out')
    assert report['images']['used'] == 18
    assert len(reasons(report)) == 9 and all(o.startswith('ambiguous: two picture keys (') and 'study.picture_key' in o for o in reasons(report))
    report, rows = prepared(raw, tmp_path/'chosen', picture_key='appointment_face')
    assert sorted(Path(o['source']).name for o in rows if o['owner'] == 'H51B9J') == PEOPLE[::2]


def test_several_pictures_and_no_index(tmp_path):
    tasks = json.loads((CASES/'L03b.json').read_text())
    for o in tasks:
        for r in o['annotations'][0]['result']: del r['item_index']
    raw = case(tmp_path/'raw', 'L03b')
    (raw/'H51B9J'/'export.json').write_text(json.dumps(tasks))
    report, _ = prepared(raw, tmp_path/'out')
    assert report['images']['used'] == 18 and all('shows 2 pictures' in o for o in reasons(report))


def test_the_state_changed_last_counts_L08(tmp_path):
    report, rows = prepared(case(tmp_path/'raw', 'L08', ['x.jpg']), tmp_path/'out')
    assert [o['label'] for o in rows if o['owner'] == 'H51B9J'] == ['neutral']


@pytest.mark.parametrize('form', ['csv', 'json'])
def test_embedded_pictures_L09b(tmp_path, form):
    raw, rows = control_group(tmp_path/'raw'), []
    folder = pictures(raw/'H51B9J', ['n1.jpg', 'n2.jpg', 'n3.jpg'])
    for i, p in enumerate(sorted(folder.glob('*.jpg'))):
        p.write_bytes(p.read_bytes() + bytes(150_000)) # longer than the csv module allows a cell to be
        rows.append({'image': 'data:image/jpeg;base64,' + base64.b64encode(p.read_bytes()).decode(), 'id': i, 'label': 'neutral', 'annotator': 1,
                     'annotation_id': i, 'created_at': f'2026-10-15T10:00:0{i}.1Z'})
    with (folder/f'export.{form}').open('w', newline='') as f:
        if form == 'json': json.dump(rows, f)
        else:
            table = csv.DictWriter(f, rows[0])
            table.writeheader(), table.writerows(rows)
    assert prepared(raw, tmp_path/'out')[0]['images']['used'] == 21


def test_other_controls_L11(tmp_path):
    report, _ = prepared(case(tmp_path/'raw', 'L11', [f'{o}.jpg' for o in CONTROLS]), tmp_path/'out')
    assert sorted(reasons(report)) == [f"not answered with choices: 'label' holds {o}" for o in CONTROLS]


def test_two_owners_with_equal_names_and_coarse_times_are_two(tmp_path):
    for owner in ('D6AE9F', 'H51B9J'):
        folder = pictures(tmp_path/'raw'/owner, PEOPLE)
        tasks = json.loads((CASES/'L01.json').read_text())
        for o in tasks:
            o['data'] = {'image': o.pop('file_upload')[9:]}
            o['annotations'][0] |= {'created_at': '2026-10-16T10:00:01Z', 'updated_at': '2026-10-16T10:00:01Z'}
        (folder/'export.json').write_text(json.dumps(tasks))
    assert prepared(tmp_path/'raw', tmp_path/'out')[0]['images']['used'] == 36


def test_twenty_thousand_rows_of_one_id_take_seconds():
    "Each with another picture, none with the same: the time grows with the rows, not with their square."
    rows = [{'image': f'{i}.jpg', 'id': 1, 'label': 'neutral', 'annotator': 1, 'annotation_id': 1, 'created_at': '2026-10-15T10:00:01.1Z'}
            for i in range(20_000)]
    start = time.process_time()
    assert sum(o.label is not None for o in read_export(json.dumps(rows).encode(), 'x.json').annotations) == 20_000
    assert time.process_time() - start < 20


def exif_with(tag, kind, count, value):
    "A JPEG that lies on its side, and beside the orientation one tag of any content."
    entries = sorted([(0x0112, (0x0112).to_bytes(2, 'little') + b'\3\0\1\0\0\0\6\0\0\0'),
                      (tag, tag.to_bytes(2, 'little') + kind.to_bytes(2, 'little') + count.to_bytes(4, 'little') + value)])
    tiff = b'II*\0\x08\0\0\0\2\0' + b''.join(o for _, o in entries) + bytes(4) + b'\xff'*8 + bytes(8)
    return picture(3, (120, 60), exif=b'Exif\0\0' + tiff)


@pytest.mark.parametrize('kind', range(14))
def test_no_odd_exif_value_stops_a_picture_I01(kind):
    for tag in (0x0100, 0x011A, 0x011B, 0x0128, 0x0132, 0x013B, 0x0201, 0x8769, 0x8825, 0x9286, 0xA005, 0xC4A5, 0xFFFF):
        for count in (0, 1, 2, 2**31):
            for value in (b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x26\0\0\0'):
                opened = open_picture(exif_with(tag, kind, count, value))
                assert (opened.width, opened.height, opened.image.size) == (60, 120, (60, 120)), (tag, kind, count, value)


def test_no_warning_of_a_library_on_the_terminal_I01(tmp_path):
    (tmp_path/'a.jpg').write_bytes(exif_with(0x011A, 4, 2, b'\x26\0\0\0'))
    code = "import sys; from anklealign.images import open_picture; open_picture(sys.argv[1])"
    assert subprocess.run([sys.executable, '-c', code, tmp_path/'a.jpg'], capture_output=True, check=True).stderr == b''


def test_tiff_on_its_side_I03(tmp_path):
    pixels = Image.open(io.BytesIO(picture(4, (120, 60))))
    pixels.save(tmp_path/'a.tif', tiffinfo={274: 6})
    pixels.transpose(Image.Transpose.ROTATE_270).save(tmp_path/'b.png')
    a, b = (open_picture(tmp_path/o) for o in ('a.tif', 'b.png'))
    assert (a.width, a.height) == (b.width, b.height) == a.image.size == (60, 120)
    assert pixel_digest(tmp_path/'a.tif') == pixel_digest(tmp_path/'b.png')


@pytest.mark.parametrize('piece', ['zTXt', 'iTXt', 'iCCP'])
def test_png_with_megabytes_beside_its_pixels_I04(piece):
    info, more = PngImagePlugin.PngInfo(), {}
    if piece == 'iCCP': more['icc_profile'] = bytes(3_000_000)
    elif piece == 'iTXt': info.add_itxt('XML:com.adobe.xmp', 'x'*3_000_000, zip=True)
    else: info.add_text('Comment', 'x'*3_000_000, zip=True)
    assert open_picture(saved(Image.new('RGB', (40, 30)), 'PNG', pnginfo=info, **more)).image.size == (40, 30)


def test_mpo_is_decoded_at_reduced_size_I06(tmp_path):
    Image.effect_noise((2000, 1000), 50).convert('RGB').save(tmp_path/'a.jpg', 'MPO', save_all=True, append_images=[Image.new('RGB', (50, 50))])
    opened = open_picture(tmp_path/'a.jpg', at_least=128)
    assert (opened.format, opened.width, opened.height, opened.image.size) == ('MPO', 2000, 1000, (250, 125)) or opened.image.size == (500, 250)


def test_a_thumbnail_is_not_the_picture():
    with pytest.raises(PictureError, match='raw file of a camera'): open_picture(saved(Image.new('RGB', (96, 72)), 'TIFF', tiffinfo={254: 1}))


UNREADABLE = {'b.jxl': b'\xff\x0a' + bytes(90), 'c.CR3': b'\0\0\0\x18ftypcrx ' + bytes(90), 'd.RAF': b'FUJIFILMCCD-RAW ' + bytes(90), 'e.dng': b'II*\0' + bytes(90),
              'IMG_1.MOV': b'\0\0\0\x14ftypqt  ' + bytes(90), 'g.pdf': b'%PDF-1.4', 'h.svg': b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'i.dcm': bytes(90),
              'k.psd': b'8BPS' + bytes(90), 'b2': b'\0\0\0\x0cJXL \r\n\x87\n', 'c.jpg': b'\xff\x0a' + bytes(90), 'clip.jpg': b'\0\0\0\x14ftypisom' + bytes(90),
              'old.tga': bytes(90), 'film.webm': b'\x1aE\xdf\xa3'}


def test_a_row_for_every_photo_I10(tmp_path, ankle):
    folder = pictures(tmp_path/'photos', ['a.jpg'])
    for name, data in UNREADABLE.items(): (folder/name).write_bytes(data)
    assert all(o.kind == 'image' and o.reason for o in walk(folder) if o.path in UNREADABLE)
    said = ankle('predict', folder, '--json', code=1).stdout
    for name in UNREADABLE:
        row = next(o for o in json.loads(said) if o['name'].endswith(name))
        assert 'save' in row['error'], row
    assert 'raw file of a camera' in ankle('predict', folder/'c.CR3', '--json', code=1).stdout
    report, _ = prepared(control_group(folder.parent/'photos').parent/'photos', tmp_path/'out')
    why = why_of(report, 'image')
    assert all('save' in why[o] for o in UNREADABLE), why


@pytest.fixture(scope='module')
def eleven(tmp_path_factory):
    "A study of eleven people, five of them for training."
    place = tmp_path_factory.mktemp('eleven')
    raw = labelled(place/'raw', 'D6AE9F', [f'participant{p:02}_1.jpg' for p in range(1, 12)], lambda i: i % 3)
    return prepare(raw, place/'out', Settings(images={'workers': 1, 'size': 64}, split={'train': .46, 'valid': .27, 'test': .27}))


@pytest.mark.parametrize(('name', 'batch_size'), [('gapcnn', 4), ('resnet18', 4), ('heels_imagenet', 4), ('heels_imagenet', 1)])
def test_a_last_batch_of_one_picture_trains_T1(eleven, tmp_path, name, batch_size):
    "Batch normalisation refuses a single picture that has shrunk to one pixel."
    small = replace(recipes[name], size=32, load=0, epochs=1, steps=0, batch_size=batch_size, weights='none')
    apart(lambda: train(eleven, tmp_path/'run', small))
    assert len((tmp_path/'run'/'history.csv').read_text().splitlines()) == 2


@pytest.mark.slow
def test_people_who_cannot_be_told_apart_are_named_beside_every_figure(tmp_path, ankle):
    "Kind 10: in the study's report, on the terminal, in the evaluation and on the model card."
    labelled(tmp_path/'raw', 'XYZ789', [f'IMG_{i:04}.jpg' for i in range(1, 61)], lambda i: i % 3)
    def says(text): return 'people could not be told apart' in text and 'too good' in text and 'study.participant' in text.replace('\\', '')
    said = ankle('run', tmp_path/'raw', '--epochs', '1', '--no-folds').stdout
    assert all(map(says, (said[:said.index('epoch 1')], said[said.index('epoch 1'):])))
    home = ankle.home/'output'
    pages = 'processed/report.md', 'evaluation/baseline/report.md', 'evaluation/baseline/report.html', 'models/baseline/model_card.md'
    assert [o for o in pages if not says((home/o).read_text())] == []


def test_class_folders_are_labels_only_if_a_setting_says_so(tmp_path, ankle):
    raw = control_group(tmp_path/'raw')
    for folder in ('normal', 'pronation', '3_Szupináció'): pictures(raw/'H51B9J'/folder, [f'participant{p:02}_1.jpg' for p in range(1, 4)])
    report, rows = prepared(raw, tmp_path/'out')
    assert len(rows) == 18 and '(3_Szupináció: 3, normal: 3, pronation: 3)' in report['warnings'][0] and 'study.class_folders = yes' in report['warnings'][0]
    assert report['warnings'][0] in (tmp_path/'out/processed/report.md').read_text().split('## ')[0]
    report, rows = prepared(raw, tmp_path/'on', class_folders=True)
    found = {o['source']: o['label'] for o in rows if o['owner'] == 'H51B9J'}
    assert sorted(found.values()) == ['neutral']*3 + ['pronation']*3 + ['supination']*3 and report['warnings'] == []
    assert (report['annotations']['found'], report['annotations']['votes']) == (27, 27) and report['exports'][-1]['votes'] == 9
    for o in raw.rglob('*.json'): o.unlink()
    (raw/'H51B9J').rename(raw/'a'), (raw/'D6AE9F').rename(tmp_path/'gone')
    assert 'study.class_folders = yes' in ankle('prepare', raw, code=1).stderr # nothing but such folders


def test_a_study_at_an_address(tmp_path, ankle):
    "Fetched once, with its checksum, kept, and told in one sentence when it cannot be had."
    raw = control_group(tmp_path/'raw')
    archive = Path(shutil.make_archive(str(tmp_path/'served'/'study'), 'zip', raw))
    with web(functools.partial(SimpleHTTPRequestHandler, directory=archive.parent)) as server:
        address = f'{server}study.zip'
        said = ankle('prepare', address).stdout
        assert hashlib.sha256(archive.read_bytes()).hexdigest() in said and '18 used' in said
        wrong = ankle('prepare', address.replace('study', 'none'), code=1).stderr
        page = ankle('prepare', address.replace('study.zip', ''), code=1).stderr
    assert 'File not found' in wrong and 'no .zip' in page
    assert '18 used' in ankle('prepare', address).stdout # it is here
    offline = ankle('prepare', address + '?again', code=1).stderr
    assert 'cannot be fetched' in offline and len(offline.strip().splitlines()) == 1 and 'again?' not in offline


class OldName(zipfile.ZipInfo):
    "A member as Explorer writes it: its name in the code page of the console, without a word about it."
    def _encodeFilenameFlags(self): return self.filename.encode('cp852'), self.flag_bits & ~0x800


def test_names_in_a_zip_of_explorer_I12(tmp_path):
    raw = write_study(tmp_path/'raw', owners=('H51B9J',))
    export = (raw/'H51B9J/export.json').read_text().replace('resztvevo', 'résztvevő')
    with zipfile.ZipFile(tmp_path/'kepek.zip', 'w') as z:
        z.writestr('H51B9J/export.json', export)
        for p in raw.glob('*/*.jpg'): z.writestr(OldName(f"H51B9J/{p.name.replace('resztvevo', 'résztvevő')}"), p.read_bytes())
    report, rows = prepared(tmp_path/'kepek.zip', tmp_path/'out')
    assert report['images']['used'] == 18 and all('résztvevő' in o['source'] for o in rows)


def test_another_programs_settings_E4(ankle):
    (ankle.home/'settings.ini').write_text('[settings]\nDEBUG=True\n')
    assert 'settings.ini' in ankle('prepare', 'raw', code=1).stderr


@pytest.mark.parametrize('name', ['ANKLEALIGN_PORT', 'ANKLEALIGN_SERVE_PORT', 'ANKLEALIGN_PORT_8000_TCP', 'ANKLEALIGN_SERVICE_HOST', 'ANKLEALIGN_SERVICE_PORT_HTTP',
                                  'ANKLEALIGN_SERVE_SERVICE_PORT', 'ANKLEALIGN_PORT_8000_TCP_ADDR'])
def test_service_links_of_a_container_orchestrator(name, caplog, tmp_path):
    value = 'tcp://10.0.0.1:8000' if name.endswith(('PORT', 'TCP')) and 'SERVICE' not in name else '10.0.0.1'
    (empty := tmp_path/'settings.ini').touch()
    assert load_settings(empty, {name: value}) == Settings()
    assert name in caplog.text


def test_a_mistyped_variable_is_still_an_error(tmp_path):
    (empty := tmp_path/'settings.ini').touch()
    for name in ('ANKLEALIGN_SERV_PORT', 'ANKLEALIGN_OUTPUT', 'ANKLEALIGN_SERVE_PROT'):
        with pytest.raises(AnklealignError, match='ANKLEALIGN_OUTPUT|not a setting|no setting|nearest'): load_settings(empty, {name: '8000'})


def test_no_shared_memory(tmp_path, monkeypatch):
    from loky.backend import synchronize
    def refuse(*_, **__): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(synchronize.SemLock, '__init__', refuse)
    raw = control_group(tmp_path/'raw')
    made = prepare(raw, tmp_path/'out', Settings(images={'workers': 2, 'size': 64}), plots=False)
    assert len(list((made/'images').iterdir())) == 18


def room(i):
    "One camera that never moves: the same wall and floor, and a small part that differs."
    pixels = np.tile(np.linspace(200, 90, 240)[:, None, None], (1, 180, 3))
    pixels[150:] -= 40
    rng = np.random.default_rng(i)
    x = 80 + int(rng.integers(-2, 3))
    pixels[150:190, x:x + 12] = rng.integers(90, 120, 3)
    return saved(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), quality=95)


def one_camera(raw):
    "The control group, and beside it an owner eight of whose pictures are of one room."
    case(raw, 'L01')
    for i, name in enumerate(PEOPLE[:8]): (raw/'H51B9J'/name).write_bytes(room(i))
    return raw


def test_one_fixed_camera_I13q(tmp_path):
    raw = one_camera(tmp_path/'raw')
    report, rows = prepared(raw, tmp_path/'out')
    alike = [o['group'] for o in rows if o['owner'] == 'H51B9J' and Path(o['source']).name in PEOPLE[:8]]
    assert len(alike) == 8 and len(set(alike)) == 1
    assert any('although their names speak of different people' in o and 'near_copies' in o for o in report['notes'])
    report, rows = prepared(raw, tmp_path/'apart', near_copies='apart')
    assert len({o['group'] for o in rows if o['owner'] == 'H51B9J'}) == 9
    assert report['audit']['hits'] == 0 or any('stand in different splits' in o for o in report['notes'])


def test_a_near_copy_that_is_not_used_is_no_other_person(tmp_path):
    raw = control_group(tmp_path/'raw')
    (raw/'D6AE9F'/'participant01_3.jpg').write_bytes(saved(Image.open(raw/'D6AE9F'/PEOPLE[0]), quality=50))
    (raw/'D6AE9F'/'tie.json').write_text(json.dumps([task(50, 'participant01_3.jpg', *SAID[:2])]))
    report, rows = prepared(raw, tmp_path/'out')
    assert 'tie' in why_of(report)['D6AE9F/participant01_3.jpg'] and len(rows) == 18
    assert not [o for o in report['notes'] if 'look the same' in o]


def test_what_only_the_audit_finds_shares_a_group(tmp_path, monkeypatch):
    "The originals pass as different, the processed pictures do not: they share a group, and the study is prepared."
    from anklealign.study import preprocess
    find = preprocess.find_duplicates
    monkeypatch.setattr(preprocess, 'find_duplicates', lambda *args: (find(*args)[0], ()))
    raw = one_camera(tmp_path/'raw')
    report, rows = prepared(raw, tmp_path/'out')
    assert report['audit']['hits'] == 0 and len(rows) == 36


def odd_items(raw):
    "Items of every kind in which one thing is wrong; each but the first pictures is named in the report."
    folder = pictures(raw/'H51B9J', ['good.jpg', 'a\rb.jpg', 'a\nb.jpg', ' .jpg', '{}.jpg', '<b>.jpg', "quote'\".jpg", 'x'*120 + '.jpg'])
    (folder/'thin.png').write_bytes(saved(Image.new('RGB', (16, 8192)), 'PNG'))
    os.mkfifo(folder/'pipe.jpg'), os.mkfifo(folder/'pipe.json')
    (folder/'phantom.csv').write_text('file,angle_deg\n"' + 'x'*200_000 + '",3\n')
    addresses = ['http://[half/a.jpg', 'http://[::1', 'https://h:99999999/a.jpg', '//[x', 'data:image/png;base64,A', 'data:image/png;base64,%%%', 'data:,', 's3://', '/data/upload/',
                 '/data/local-files/?d=', '\0', '', 'a'*100_000, 'good.jpg', 'C:\\', 'file://', 'http://h/%', '/data/local-files/?d=%00', '..', '/data/local-files/?d=..%2f..%2fx.jpg',
                 *(p.name for p in folder.glob('*.jpg'))]
    tasks = [task(i + 1, '', 'neutral', data={'image': o}) for i, o in enumerate(addresses)]
    for o in tasks: del o['file_upload']
    (folder/'export.json').write_text(json.dumps(tasks))
    rows = [{'': 3, 'annotator': 1}, {'': '', 'annotator': 1}, {'annotator': {}, 'image': [], 'id': {}}, {'annotator': 1, 'label': [[[]], {}], 'image': None}, {'annotator': None}]
    (folder/'min.json').write_text(json.dumps(rows))
    (folder/'odd.json').write_text(json.dumps([{'annotations': [{'result': [{'value': {'choices': [[[]], {}, None]}}, 3, None], 'created_at': 1e300}], 'data': {'': '', 'image': {}}},
                                               {'annotations': [[], 'x', None], 'data': []}, {'annotations': {}, 'data': {'images': ['a.jpg', 'b.jpg']}}]))
    return len(addresses)


def test_one_odd_item_stops_nothing(tmp_path):
    raw = control_group(tmp_path/'raw')
    n = odd_items(raw)
    report, rows = prepared(raw, tmp_path/'out')
    assert {'H51B9J/good.jpg', *(f'D6AE9F/{o}' for o in PEOPLE)} <= {o['source'] for o in rows}
    assert len([o for o in report['items'] if o['item'].startswith('H51B9J/export.json#')]) == n
    why = why_of(report)
    assert all(why[f'H51B9J/{o}'] for o in ('pipe.jpg', 'pipe.json', 'thin.png')), why


def test_one_odd_photo_stops_no_answers(tmp_path, ankle):
    control_group(tmp_path/'photos'), odd_items(tmp_path/'photos')
    said = ankle('predict', tmp_path/'photos', '--json', '--overlay', tmp_path/'o', code=1).stdout
    assert sum(bool(o['error'] == '') for o in json.loads(said)) >= 19


def damaged(archive, name, at, data):
    "The archive with some bytes of one member overwritten."
    with zipfile.ZipFile(archive) as z: start = z.getinfo(name).header_offset + 30 + len(name)
    raw = bytearray(archive.read_bytes())
    raw[start + at:start + at + len(data)] = data
    archive.write_bytes(raw)


@pytest.mark.parametrize('how', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_one_damaged_member_stops_no_archive(tmp_path, how):
    raw, archive = control_group(tmp_path/'raw'), tmp_path/'raw.zip'
    with zipfile.ZipFile(archive, 'w', how) as z:
        for p in sorted(raw.rglob('*.*')): z.write(p, p.relative_to(raw))
        z.writestr(zipfile.ZipInfo('H51B9J/no_date.jpg'), picture(1))
        z.writestr('H51B9J/bad.jpg', picture(2), how)
        z.writestr('H51B9J/' + 'y'*300 + '.jpg', picture(2), how)
        z.writestr('H51B9J', b'a file where a folder is', how)
    damaged(archive, 'H51B9J/bad.jpg', 20, bytes(range(40)))
    report, rows = prepared(archive, tmp_path/'out')
    assert len(rows) == 18
    why = why_of(report)
    assert why['H51B9J/bad.jpg'].startswith(('damaged in the archive', 'cannot be unpacked')) and 'cannot be unpacked' in why['H51B9J/' + 'y'*300 + '.jpg']


def test_zero_dos_dates(tmp_path):
    raw, archive = control_group(tmp_path/'raw'), tmp_path/'raw.zip'
    with zipfile.ZipFile(archive, 'w') as z:
        for p in sorted(raw.rglob('*.*')):
            info = zipfile.ZipInfo(str(p.relative_to(raw)))
            info.date_time = (1980, 0, 0, 0, 0, 0)
            z.writestr(info, p.read_bytes())
    assert len(prepared(archive, tmp_path/'out')[1]) == 18


def test_marked_pictures_of_long_paths(tmp_path, ankle):
    folder = pictures(tmp_path/('y'*240)/('z'*200), [])
    with zipfile.ZipFile(demo_study()) as z: photo = z.read('D6AE9F/sajat_resztvevo10_04.jpg')
    for name in ('a.jpg', 'b.jpg'): (folder/name).write_bytes(photo)
    said = json.loads(ankle('predict', folder, '--json', '--overlay', tmp_path/'o').stdout)
    assert len(said) == len(list((tmp_path/'o').iterdir())) == 2
    (tmp_path/'file').write_bytes(b'')
    told = ankle('predict', folder, '--json', '--overlay', tmp_path/'file')
    assert len(json.loads(told.stdout)) == 2 and '2 of 2 marked pictures could not be written' in told.stderr


@pytest.mark.parametrize('name', ['XYZ789_{:02}_{:02}.jpg', 'p{}-left-{}.png', '{:03} ({}).jpg', 'patient{}_{}.jpg'])
def test_people_are_recognised_from_names_by_themselves(tmp_path, name):
    "Kind 10: no photo of one person in training and another in test."
    raw = labelled(tmp_path/'raw', 'XYZ789', [name.format(p, j) for p in range(1, 13) for j in (1, 2, 3)], lambda i: i//3 % 3)
    report, rows = prepared(raw, tmp_path/'out')
    assert len({o['group'] for o in rows}) == 12 and any('36 pictures of 12 people' in o for o in report['notes'])
    report, rows = prepared(tmp_path/'raw', tmp_path/'off', recognise_participants=False)
    assert len({o['group'] for o in rows}) == 36 and 'people could not be told apart' in report['notes'][0]


@pytest.mark.parametrize('name', ['IMG_{:04}.jpg', '{}.jpg', 'neutral_{}.jpg', 'DSC{:05}.jpg', 'IMG-20231024-WA{:04}.jpg', 'IMG_20231024_{:06}.jpg'])
def test_a_camera_counts_pictures_not_people(tmp_path, name):
    raw = labelled(tmp_path/'raw', 'XYZ789', [name.format(i) for i in range(1, 121)], lambda i: i % 3)
    report, rows = prepared(raw, tmp_path/'out')
    assert len({o['group'] for o in rows}) == 120 and 'people could not be told apart' in report['notes'][0]


def owner_of_two(raw, tasks, names=PEOPLE, **files):
    "The control group, and beside it the owner H51B9J with exports: file name → tasks."
    folder = pictures(control_group(raw)/'H51B9J', names)
    for name, content in (files or {'export': tasks}).items(): (folder/f'{name}.json').write_text(json.dumps(content))
    return raw


def tasks_of(names, fine=True):
    "A task for each name; `fine`: with times as a server gives them."
    made = [task(i, o, SAID[(i - 1)//2 % 3]) for i, o in enumerate(names, 1)]
    for o in made if fine else ():
        a = o['annotations'][0]
        a['created_at'] = a['updated_at'] = a['created_at'].replace('Z', f'.{o["id"]:06}Z')
    return made


def test_an_export_that_stands_twice_finds_its_pictures_where_it_can(tmp_path):
    "Kind 1: the copy at the root does not know whose pictures it means, the one in the owner's folder does."
    raw = owner_of_two(tmp_path/'raw', tasks_of(PEOPLE))
    (raw/'ALL.json').write_text(json.dumps(tasks_of(PEOPLE)))
    report, _ = prepared(raw, tmp_path/'out')
    assert (report['images']['used'], report['reasons']['annotations']) == (36, {'the same annotation as': 18})


@pytest.mark.parametrize('names', [('a_monday', 'b_friday'), ('b_monday', 'a_friday')])
def test_an_answer_changed_between_two_downloads_is_one_vote(tmp_path, names):
    "Kind 1: the same annotation in both goes first, and what overrules it stands in one of them only."
    monday, friday = tasks_of(PEOPLE), tasks_of(PEOPLE)
    again = json.loads(json.dumps(friday[0]['annotations'][0])) | {'id': 999, 'created_at': '2026-11-16T12:00:01.5Z', 'updated_at': '2026-11-16T12:00:01.5Z'}
    again['result'][0]['value']['choices'] = ['supination']
    friday[0]['annotations'].append(again)
    report, rows = prepared(owner_of_two(tmp_path/'raw', None, **dict(zip(names, (monday, friday), strict=True))), tmp_path/'out')
    assert [(o['label'], o['n_votes']) for o in rows if o['source'] == f'H51B9J/{PEOPLE[0]}'] == [('supination', '1')]
    assert report['annotations']['votes'] == 36 and report['agreement']['annotators'] == 2


def test_skipped_in_one_format_is_skipped_in_the_other(tmp_path):
    "Kind 1."
    tasks = tasks_of(PEOPLE)
    tasks[0]['annotations'][0]['was_cancelled'] = True
    rows = [{'image': o['data']['image'], 'id': o['id'], 'label': 'neutral', 'annotator': 1, 'annotation_id': 100*o['id']} | {k: o['annotations'][0][k] for k in ('created_at', 'updated_at')}
            for o in tasks[:1]]
    assert prepared(owner_of_two(tmp_path/'raw', None, a_min=rows, z=tasks), tmp_path/'out')[0]['images']['used'] == 35


def test_what_is_not_clear_is_told_apart_by_what_is(tmp_path):
    "Kind 2: a bare name that two owners have, and beside it the name with the owner."
    tasks = tasks_of(PEOPLE)
    for o, name in zip(tasks, PEOPLE, strict=True): o |= {'data': {'image': name}, 'file_upload': o['file_upload'].replace('.jpg', '_H51B9J.jpg')}
    raw = owner_of_two(tmp_path/'raw', [])
    (raw/'all.json').write_text(json.dumps(tasks))
    assert prepared(raw, tmp_path/'out')[0]['images']['used'] == 36


@pytest.mark.parametrize('image', ['left heel', '17', '/data/upload/1/0badf00d-example.jpg'])
def test_a_key_called_image_that_does_not_hold_the_picture(tmp_path, image):
    "Kinds 2 and 3: a caption, a number, or one reference for all tasks; the picture is under another key."
    tasks = tasks_of(PEOPLE)
    for o in tasks: o |= {'data': {'image': image, 'photo': o['data']['image']}, 'file_upload': ''}
    report, rows = prepared(owner_of_two(tmp_path/'raw', tasks, [*PEOPLE, 'example.jpg']), tmp_path/'out')
    assert report['images']['used'] == 36 and 'H51B9J/example.jpg' not in {o['source'] for o in rows}


def chunk(name, data, right=True): return len(data).to_bytes(4) + name + data + (zlib.crc32(name + data) ^ (not right)).to_bytes(4)


def test_no_metadata_stops_a_picture():
    "Kind 4: every piece of a PNG that is not the picture, whatever it holds; tags of a TIFF; pieces of a JPEG that end too early."
    junk = np.random.default_rng(1).bytes(300)
    png, tiff, jpeg = (saved(Image.open(io.BytesIO(picture(1))), o) for o in ('PNG', 'TIFF', 'JPEG'))
    cases = [png[:33] + chunk(name.encode(), junk[:n], right) + png[33:] for name in 'tEXt iCCP eXIf gAMA cHRM sRGB pHYs acTL fcTL cICP'.split() for n in (0, 3, 300)
             for right in (True, False)]
    at = int.from_bytes(tiff[4:8], 'little')
    for tag in (270, 282, 306, 700, 33723, 34665, 34675, 34853):
        for kind in (1, 2, 5, 12, 13): # a tag in the place of the first one that is not needed, or behind all
            entry = b''.join([tag.to_bytes(2, 'little'), kind.to_bytes(2, 'little'), (5).to_bytes(4, 'little'), b'\xff'*4])
            table = tiff[at + 2:at + 2 + 12*tiff[at]] + entry
            cases.append(tiff[:4] + len(tiff).to_bytes(4, 'little') + tiff[8:] + (tiff[at] + 1).to_bytes(2, 'little') + table + bytes(4))
    cases += [jpeg[:2] + piece + jpeg[2:] for piece in (b'\xff\xe0\0\7JFIF\0', b'\xff\xe2\0\x0eICC_PROFILE\0', b'\xff\xee\0\x08Adobe\0')]
    assert {pixel_digest(o) for o in cases} <= {pixel_digest(o) for o in (png, tiff, jpeg)}


def test_a_study_that_people_are_wrongly_recognised_in_says_the_way_on(tmp_path):
    "Kind 6: as a fixed camera does."
    labelled(tmp_path/'raw', 'H51B9J', [f'site{s}_{j}.jpg' for s in range(1, 7) for j in range(1, 6)], lambda i: i//11, 1)
    with pytest.raises(AnklealignError, match='study.recognise_participants = no'): prepared(tmp_path/'raw', tmp_path/'out')
    with pytest.raises(AnklealignError, match='study.unknown_participant = image'):
        prepared(tmp_path/'raw', tmp_path/'out', recognise_participants=False, unknown_participant='owner')
    assert prepared(tmp_path/'raw', tmp_path/'out', recognise_participants=False)[0]['images']['used'] == 30


def test_one_object_a_line_and_any_way_to_write_a_time(tmp_path):
    "Kind 8."
    tasks = tasks_of(PEOPLE)
    folder = pictures(control_group(tmp_path/'raw')/'H51B9J', PEOPLE)
    for at, label in (('2026-01-02T10:00:00.5+02:00', 'pronation'), ('2026-01-02 09:00:00.5', 'supination')): # nine is later than eight
        tasks[2]['annotations'].append(json.loads(json.dumps(tasks[0]['annotations'][0])) | {'id': at, 'created_at': at, 'updated_at': at})
        tasks[2]['annotations'][-1]['result'][0]['value']['choices'] = [label]
    (folder/'export.jsonl').write_text('\n'.join(map(json.dumps, tasks)))
    report, rows = prepared(tmp_path/'raw', tmp_path/'out')
    assert report['images']['used'] == 36 and [o['label'] for o in rows if o['source'] == f'H51B9J/{PEOPLE[2]}'] == ['supination']


@pytest.mark.parametrize('env', [{'RANK': '1'}, {'WORLD_SIZE': '4', 'RANK': '2'}, {'WORLD_SIZE': 'all'}])
def test_variables_that_other_programs_set(tmp_path, ankle, env, monkeypatch):
    "Kind 5: the command does, and says, what it does without them; a backend of plots that is not installed is not asked for."
    from anklealign.app.cli import main
    assert '18 used' in ankle('prepare', control_group(tmp_path/'raw'), **env).stdout
    for k, v in (env | {'MPLBACKEND': 'nonsense'}).items(): monkeypatch.setenv(k, v)
    main()
    assert os.environ['MPLBACKEND'] == 'agg' and 'WORLD_SIZE' not in os.environ


def test_what_a_photo_carries_does_not_stop_the_service():
    "Kinds 4 and 8: what `prepare` and `predict` read, `serve` reads."
    from anklealign.app.middleware import check_photo
    png = saved(Image.open(io.BytesIO(picture(1))), 'PNG')
    for o in (chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(3_000_000))), chunk(b'gAMA', b''), chunk(b'tIME', b'x', right=False)): check_photo(png[:33] + o + png[33:])


def test_the_folder_inference_in_an_archive(tmp_path, ankle):
    "Kind 8: as in a folder. Kind 7: what is no picture is not called a damaged one."
    from anklealign.app.photos import answer_inference
    raw = control_group(tmp_path/'raw')
    pictures(raw/'inference', ['a.jpg', 'b.jpg'])
    for outer in ('.', 'outer'):
        (tmp_path/outer).mkdir(exist_ok=True)
        archive = shutil.make_archive(str(tmp_path/'packed'/outer/'study'), 'zip', tmp_path if outer == 'outer' else raw, 'raw' if outer == 'outer' else None)
        answer_inference(archive, demo_bundle(), tmp_path/'no', tmp_path/outer)
        assert [o['name'].partition('inference/')[2] for o in json.loads((tmp_path/outer/'predictions.json').read_text())] == ['a.jpg', 'b.jpg']
    (ankle.home/'notes.txt').write_text('of no use')
    rows = json.loads(ankle('predict', archive, 'notes.txt', '-', '--json', code=1).stdout)
    assert [o['error'] for o in rows] == ['not a picture: unpack it and give the folder', 'not a picture', 'empty: nothing came in']


def test_an_error_of_our_own_is_the_reason_of_one_item(tmp_path, monkeypatch):
    "Whatever goes wrong with one picture or one task, all others are used."
    from anklealign.study import labelstudio, preprocess
    measure, read = preprocess.measure, labelstudio._from_task
    monkeypatch.setattr(preprocess, 'measure', lambda image: measure(image) if image.size != (123, 77) else {}['of no use'])
    monkeypatch.setattr(labelstudio, '_from_task', lambda o, *args: read(o, *args) if o['id'] != 99 else {}['of no use'])
    raw = owner_of_two(tmp_path/'raw', [*tasks_of(PEOPLE), task(99, 'odd.jpg', 'neutral')], [*PEOPLE, 'odd.jpg'])
    (raw/'H51B9J'/'odd.jpg').write_bytes(picture(1, (123, 77)))
    report, _ = prepared(raw, tmp_path/'out')
    assert report['images'] == {'found': 37, 'used': 36, 'merged': 0, 'dropped': 1}
    assert [o['reason'].split(' (')[0] for o in report['items'] if o['reason']] == ["cannot be processed: 'of no use'", 'it cannot be read']
