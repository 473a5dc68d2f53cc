"""Studies, archives and bundles with something odd in them, the same for the same seed; what must hold for each of them.

`benchmarks/campaigns.py` tries thousands, `test_mutants.py` some hundred in every run.
"""
import copy
import csv
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import struct
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from conftest import content, picture, task
from malformed import FILES, whole

from anklealign.core import AnklealignError, Settings
from anklealign.data import prepare
from anklealign.deploy import Predictor, as_record
from anklealign.inference.bundle import GRAPH, MARK, file_entry

CASES = Path(__file__).with_name('cases')
PEOPLE = [f'participant{p:02}_1.jpg' for p in range(1, 10)]
TINY = Settings(images={'workers': 1, 'size': 32})
ODD_VALUES = [None, '', [], {}, 0, -1, 1e308, 10**400, True, 'http://[x', 'data:image/png;base64,A', '../../x', '/etc/passwd', '\0', 'a\rb', [[]], [{}], {'': ''}, '\ud800', 'x'*5_000]
NAMES = ['a\rb.jpg', 'a\nb.jpg', '\x1b[31m.jpg', ' .jpg', '{}.jpg', '<b>.jpg', "q'\".jpg", 'x'*240 + '.jpg', '\u202egpj.jpg', 'e\u0301.jpg', '\u00e9.jpg', 'CON.jpg', '-rf.jpg', '%00.jpg',
         'a,b;c\t.jpg', '=1+1.jpg', '..jpg', 'A.JPG', 'a.jpg', '|.jpg', '\\.jpg', '~$a.jpg', '🦶.jpg', '$(id).jpg', b'\xff\xfe.jpg', 'sub/dir/deep/a.jpg', '__MACOSX/a.jpg', '.x/a.jpg']


def mutated(value, rng):
    "`value` with something odd in one place."
    if not isinstance(value, (dict, list)) or not value or rng.random() < .1: return copy.deepcopy(rng.choice(ODD_VALUES))
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if rng.random() < .1 and isinstance(value, list): value.append(copy.deepcopy(value[key]))
    else: value[key] = mutated(value[key], rng)
    return value


def scrambled(data, rng):
    "Bytes of which some are others, gone, doubled or moved."
    data = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        if not data: break
        at, n, how = rng.randrange(len(data)), rng.randint(1, 40), rng.randrange(6)
        if how < 3: data[at] = rng.randrange(256)
        elif how == 3: del data[at:at + n]
        elif how == 4: data[at:at] = data[at:at + n]
        else: data[at:at + n] = rng.choice([b'\0', b'\xff', b'"', b'[', b'{', b'\r\n', b','])*n
    return bytes(data[:rng.randrange(len(data) + 1)] if rng.random() < .1 else data)


def export(rng, name):
    "An export of a case, or of one picture, with its name's ending: as JSON, as the short JSON, as a table."
    tree = json.loads(rng.choice(sorted(CASES.glob('*.json'))).read_text()) if rng.random() < .5 else [task(i, name, 'neutral', 'pronation') for i in range(1, 4)]
    short = [{'image': f'/data/upload/1/{name}', 'id': i, 'label': rng.choice(['neutral', '1_Pronacio', '']), 'annotator': 1, 'annotation_id': i, 'created_at': '2025-10-10'} for i in range(3)]
    if (how := rng.randrange(3)) == 2:
        out = io.StringIO()
        writer = csv.DictWriter(out, short[0], delimiter=rng.choice(',\t;'))
        writer.writeheader(), writer.writerows(short)
        return out.getvalue().encode(), '.csv'
    tree = (tree, short)[how]
    for _ in range(rng.randint(1, 8)): tree = mutated(tree, rng)
    return json.dumps(tree).encode(rng.choice(['utf-8', 'utf-8-sig', 'utf-16'])), rng.choice(['.json', '', '.txt', '.csv'])


def odd_photo(rng):
    "A picture's bytes, more or less."
    if rng.random() < .4: return scrambled(whole(rng.choice(['JPEG', 'PNG', 'WEBP', 'HEIF', 'TIFF, LZW', 'BMP'])), rng)
    return FILES[rng.choice(['truncated', 'flipped', 'polyglot', 'hollow', 'impossible', 'other', 'thin', 'slow'])](np.random.default_rng(rng.randrange(2**32)))


def odd_file(folder, rng):
    "Something in the place of a photo or an export that is no file."
    place, how = folder/rng.choice(['z.jpg', 'export2.json', 'z', 'notes.csv']), rng.randrange(6)
    if how == 0: os.mkfifo(place)
    elif how == 1: place.symlink_to(rng.choice(['/dev/zero', '/etc/passwd', str(place), '..', 'nowhere', '/']))
    elif how == 2:
        with socket.socket(socket.AF_UNIX) as s:
            here = os.open(folder, os.O_RDONLY)
            s.bind(f'/proc/self/fd/{here}/{place.name}'), os.close(here)
    elif how == 3: place.mkdir()
    elif how == 4: (folder/('d/'*rng.randint(1, 60))).mkdir(parents=True)
    else:
        place.write_bytes(whole('JPEG'))
        os.utime(place, (rng.choice([0, -2**31, 2**33, 1e11]),)*2)


def control(raw):
    "A study of nine people that must come through whatever lies beside it."
    folder = raw/'D6AE9F'
    folder.mkdir(parents=True)
    for i, o in enumerate(PEOPLE): (folder/o).write_bytes(picture(i, (48, 60)))
    (folder/'export.json').write_text(json.dumps([task(i + 1, o, ('pronation', 'neutral', 'supination')[i % 3]) for i, o in enumerate(PEOPLE)]))
    return raw


def mutant(raw, seed, owner='H51B9J'):
    "A folder of another owner in which some things are odd."
    rng, folder = random.Random(seed), raw/owner
    folder.mkdir()
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(NAMES) if rng.random() < .5 else rng.choice([*PEOPLE[:2], 'x.jpg', '50%.png', 'a.heic', 'a.tif'])
        file = Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name))))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(odd_photo(rng) if rng.random() < .7 else picture(rng.randrange(10**6), (48, 60)))
    data, ending = export(rng, rng.choice(['x.jpg', 'participant01_1.jpg', '50%25.png']))
    (folder/f'e{ending}').write_bytes(data if rng.random() < .6 else scrambled(data, rng))
    if rng.random() < .4: odd_file(folder, rng)
    return folder


def wrong_with_study(raw, output):
    "What is wrong after `prepare` of a study with mutants; empty if nothing is."
    try: made = prepare(raw, output, TINY)
    except AnklealignError as e: return f'stopped: {e}'
    except Exception as e: return f'crashed: {e!r}'
    report, rows = json.loads((made/'report.json').read_text()), list(csv.DictReader((made/'metadata.csv').open(newline='')))
    if lost := {f'D6AE9F/{o}' for o in PEOPLE} - {o['source'] for o in rows}: return f'lost: {min(lost)}'
    pictures, notes = report['images'], report['annotations']
    if pictures['found'] != pictures['used'] + pictures['merged'] + pictures['dropped'] or notes['found'] != notes['votes'] + notes['dropped']: return 'the account does not add up'
    there = sum(p.is_symlink() or not stat.S_ISDIR(p.lstat().st_mode) for p in raw.rglob('*'))
    items = len([o for o in report['items'] if o['kind'] != 'annotation'])
    return '' if items == there else f'{there} files, {items} in the report'


def damage_study(study, seed):
    "Make a finished study one that somebody has damaged; only without its `metadata.csv` it would be none of ours, and never be replaced."
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        file, how = rng.choice([o for o in study.rglob('*') if o.is_file()] or [study/'metadata.csv']), rng.randrange(5)
        if how < 2 or file.name == 'metadata.csv' and how == 2: file.write_bytes(scrambled(file.read_bytes() if file.exists() else b'', rng))
        else: file.unlink(missing_ok=True)
        if how == 3: file.mkdir()
        elif how == 4: os.mkfifo(file)


def archive(raw, place, seed):
    "The study as an archive in which something is odd."
    rng = random.Random(seed)
    with zipfile.ZipFile(place, 'w', rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])) as z:
        z.comment = rng.randbytes(rng.choice([0, 9, 60_000]))
        for p in sorted(raw.rglob('*.*')): z.write(p, p.relative_to(raw))
        for _ in range(rng.randint(0, 4)):
            info = zipfile.ZipInfo(rng.choice(['../../evil.jpg', '/evil.jpg', 'C:\\evil.jpg', 'a\\..\\..\\evil.jpg', 'D6AE9F', 'D6AE9F/export.json/x', 'y'*300, '//x', '.', '..', 'a/./b', 'x\x1b.jpg',
                                               'n\0ul.jpg', 'D6AE9F/' + PEOPLE[0], 'd/'*300 + 'a.jpg', 'CON', 'evil.jpg/']), rng.choice([(1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)]))
            info.external_attr = rng.choice([0, 0o120777, 0o010644, 0o060644, 0o4777, 0o0]) << 16
            info.compress_type = rng.choice([0, 8])
            info.create_system = rng.choice([0, 3, 255])
            z.writestr(info, rng.choice([b'/etc/passwd', b'', picture(1, (48, 60)), bytes(10**5)]))
    data, heads = bytearray(place.read_bytes()), [b'PK\1\2', b'PK\3\4', b'PK\5\6']
    for _ in range(rng.choice([0, 1, 1, 3])):
        if (how := rng.randrange(5)) == 0: data = bytearray(scrambled(data, rng))
        elif how == 1: data = data[:rng.randrange(len(data))]
        elif how == 2: data = data[rng.randrange(len(data)):] if rng.random() < .3 else bytearray(rng.randbytes(99)) + data
        elif (at := data.find(rng.choice(heads), rng.randrange(max(1, len(data))))) >= 0: # a field of a header
            struct.pack_into(*rng.choice([('<H', data, at + rng.choice([4, 6, 8, 10, 12, 26, 28, 30]), rng.choice([1, 8, 9, 99, 0xffff])),
                                          ('<I', data, min(at + rng.choice([14, 18, 20, 22, 24, 42]), len(data) - 4), rng.choice([0, 1, 2**31, 2**32 - 1]))]) if at + 50 < len(data) else ('<B', data, at, 0))
    place.write_bytes(data)


def wrong_with_archive(place, output):
    "What is wrong after `prepare` of an odd archive; empty if nothing is. The study that was there before may go for a new one, and for nothing else."
    before, around = content(output/'processed'), sorted(os.listdir(output.parent))
    try: prepare(place, output, TINY, plots=False) # which know nothing of the archive, and take most of the time
    except AnklealignError as e:
        if '\n' in str(e): return f'more than a line: {e}'
        if content(output/'processed') != before: return 'the old study has changed'
    except Exception as e: return f'crashed: {e!r}'
    finally:
        if left := sorted({*os.listdir(output.parent)} - {*around}) or [o for o in os.listdir(output) if o != 'processed']: return f'left: {left}' # noqa: B012
    return ''


def fresh(folder):
    "The same folder, empty."
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


OURS = zipfile.ZipFile(files('anklealign')/'demo_bundle.zip')


def bundle(place, seed):
    "The demonstration bundle with an odd `bundle.json`, an odd graph that it speaks of, or both; as a folder or an archive."
    rng, about, graph = random.Random(seed), json.loads(OURS.read(MARK)), OURS.read(GRAPH)
    text = json.dumps(about)
    if (how := rng.randrange(4)) < 2: # the first and last kilobytes are structure, what is between them are weights
        graph = bytearray(graph)
        for _ in range(rng.randint(1, 12)):
            at = rng.choice([rng.randrange(len(graph)), rng.randrange(20_000), len(graph) - 1 - rng.randrange(200_000)])
            graph[at] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        about['files'] = {GRAPH: file_entry(bytes(graph))}
        text = json.dumps(about)
    elif how == 2:
        about['files'] = {GRAPH: about['files'][GRAPH]}
        for _ in range(rng.randint(1, 3)): about = mutated(about, rng)
        text = json.dumps(about)
    else: text = scrambled(text.encode(), rng)
    place.mkdir()
    content = {MARK: text if isinstance(text, bytes) else text.encode(), GRAPH: bytes(graph)}
    if rng.random() < .7:
        for name, data in content.items(): (place/name).write_bytes(data)
        return place
    with zipfile.ZipFile(place/'b.zip', 'w') as z:
        for name, data in content.items(): z.writestr(name, data)
    data = (place/'b.zip').read_bytes()
    (place/'b.zip').write_bytes(data[:-400] + scrambled(data[-400:], rng) if rng.random() < .5 else data)
    return place/'b.zip'


def wrong_with_bundle(place, seconds=60):
    "What is wrong with an answer from an odd bundle, asked for in a fork; empty if it is an answer, or one sentence."
    read, write = os.pipe()
    if not (child := os.fork()):
        signal.alarm(seconds)
        said = ''
        try:
            answer = as_record(Predictor(place)(picture(1, (400, 500))))
            json.dumps(answer)
        except AnklealignError as e: said = f'more than a line: {e}' if '\n' in str(e) else ''
        except BaseException as e: said = f'crashed: {e!r}'
        os.write(write, said.encode(errors='replace')[:4000])
        os._exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 3e6)
    os.close(write)
    said, code = os.read(read, 4000).decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(read)
    return said or (f'exit code {code}' if code else '')
