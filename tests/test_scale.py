"""Shards and remote paths, end to end: what several machines leave is what one would have left."""
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import content, picture, write_study

PATIENT = {'RAY_agent_register_timeout_ms': '200000', 'RAY_raylet_start_wait_time_s': '200'} # on a machine that has other work
SMALL = {'ANKLEALIGN_IMAGES_SIZE': '64'}


def test_shards_of_answers_make_the_table_of_one_machine(ankle, tmp_path):
    raw = write_study(tmp_path/'raw', people=3)
    (raw/'cut.jpg').write_bytes(picture(2)[:900])
    (tmp_path/'elsewhere').symlink_to(raw) # another machine has mounted the folder under another name
    whole = ankle('predict', raw, '--csv', code=1).stdout
    for shard in ('2/3', '1/3', '3/3'): ankle('predict', raw, '--shard', shard, '--output', 'answers')
    said = ankle('merge', 'answers.csv', *(ankle.home/'answers/shards').iterdir()).stdout
    assert (ankle.home/'answers.csv').read_text() == whole
    account = json.loads((ankle.home/'answers.account.json').read_text())
    assert account['photos'] == 13 == account['answered'] + account['withheld'] + account['unusable'] and account['unusable'] == 1 and '13 photos' in said
    ankle('predict', tmp_path/'elsewhere', '--shard', '2/3', '--output', 'there')
    assert [len(o) for o in content(ankle.home/'there').values()][0] > 0
    assert [o['in_shard'] for o in account['shards']][1] == json.loads((ankle.home/'there/shards/2-of-3/shard.json').read_text())['in_shard']


def test_shards_of_pictures_make_the_study_of_one_machine(raw, ankle):
    ankle('prepare', raw, '--output', 'one', **SMALL)
    for shard in ('1/2', '2/2'): ankle('prepare', raw, '--output', 'many', '--shard', shard, **SMALL)
    shards = sorted((ankle.home/'many/shards').iterdir())
    assert 'other settings' in ankle('merge', 'many', *shards, code=1).stderr
    before = [o.stat().st_mtime_ns for o in raw.rglob('*.jpg')]
    ankle('merge', 'many', *shards, **SMALL)
    assert content(ankle.home/'many/processed') == content(ankle.home/'one/processed') and before == [o.stat().st_mtime_ns for o in raw.rglob('*.jpg')]


@pytest.mark.parametrize(('args', 'said'), [
    (['predict', 'a.jpg', '--shard', '1/2'], 'need --output'), (['predict', 'a.jpg', '--shard', '3/2', '--output', 'o'], 'such as 3/16'),
    (['predict', 'a.jpg', '--output', 'o', '--json'], 'leave out --json'), (['merge', 'a.csv', 'nowhere'], 'is no shard')])
def test_what_cannot_be_sharded_is_told(args, said, ankle, tmp_path):
    (ankle.home/'a.jpg').write_bytes(picture(1))
    assert said in ankle(*args, code=1).stderr


@pytest.mark.slow
def test_a_cluster_prepares_the_study_of_one_machine(raw, ankle):
    "Only where Ray is installed."
    pytest.importorskip('ray')
    ankle('prepare', raw, '--output', 'one', **SMALL)
    ankle('prepare', raw, '--output', 'many', '--ray', 'local', shell=True, **SMALL, **PATIENT)
    assert content(ankle.home/'many/processed') == content(ankle.home/'one/processed')
    assert all((o/'shard.json').exists() for o in (ankle.home/'many/shards').iterdir())


@pytest.mark.slow
def test_answers_from_an_s3_server_are_those_from_a_disk(ankle, tmp_path, monkeypatch):
    "Only where moto and s3fs are installed."
    for o in ('moto', 's3fs'): pytest.importorskip(o)
    monkeypatch.syspath_prepend(Path(__file__).parents[1]/'benchmarks')
    from cluster import s3_server

    from anklealign.storage import place, write_atomic
    raw, before = write_study(tmp_path/'raw', people=2), dict(os.environ)
    far = place(s3_server())
    there = {k: v for k, v in os.environ.items() if before.get(k) != v}
    for k in there: monkeypatch.delenv(k)
    for name, data in content(raw).items(): write_atomic(far/'photos'/name, data)
    ankle('predict', far/'photos', '--output', far/'answers', shell=True, **there)
    ankle('merge', far/'all.csv', f'{far}/answers/shards/*', shell=True, **there)
    assert (far/'all.csv').read_bytes().decode().replace(f'{far}/photos', str(raw)) == ankle('predict', raw, '--csv').stdout
    ankle('prepare', far/'photos', '--shard', '1/1', '--output', 'near', shell=True, **SMALL, **there)
    assert json.loads((ankle.home/'near/shards/1-of-1/shard.json').read_text())['in_shard'] == 8


def test_parquet_holds_the_table(ankle, tmp_path):
    "Only where pyarrow is installed."
    parquet = pytest.importorskip('pyarrow.parquet')
    raw = write_study(tmp_path/'raw', people=1)
    (raw/'cut.jpg').write_bytes(picture(2)[:900])
    for shard in ('1/2', '2/2'): ankle('predict', raw, '--shard', shard, '--output', 'answers')
    for name in ('all.csv', 'all.parquet'): ankle('merge', name, *(ankle.home/'answers/shards').iterdir())
    found = parquet.read_table(ankle.home/'all.parquet').to_pylist()
    with open(ankle.home/'all.csv', newline='') as f: wanted = list(csv.DictReader(f))
    assert len(found) == len(wanted) > 4
    for one, other in zip(found, wanted, strict=True):
        assert {k: '' if v is None else v for k, v in one.items()} == {
            k: (float(v) if isinstance(one[k], float) else v) for k, v in other.items()}
    assert any(isinstance(v, float) for v in found[0].values()) and one.keys() == other.keys()


@pytest.mark.slow
def test_a_study_in_object_storage_is_the_same_study(raw, ankle):
    from anklealign.storage import place, write_atomic
    far = place('memory://raw')
    for name, data in content(raw).items(): write_atomic(far/name, data)
    (raw/'D6AE9F'/'sajat_resztvevo01_01.jpg').unlink() # a command that looked here would miss it
    ankle('prepare', far, '--output', 'far', **SMALL)
    for name, data in [('D6AE9F/sajat_resztvevo01_01.jpg', (far/'D6AE9F/sajat_resztvevo01_01.jpg').read_bytes())]: (raw/name).write_bytes(data)
    ankle('prepare', f'file://{raw}', '--output', 'here', **SMALL)
    there, here = (content(ankle.home/o/'processed') for o in ('far', 'here'))
    assert {k for k in here if here[k] != there.get(k)} == {'.journal.jsonl'} and here.keys() == there.keys() # which holds times
    assert ankle('predict', far/'D6AE9F', '--csv').stdout.replace('memory://raw', str(raw)) == ankle('predict', raw/'D6AE9F', '--csv').stdout
    assert 'no file below' in ankle('prepare', 'memory://nowhere', code=1).stderr and 'cannot be read' in ankle('predict', 'nobody3://a', code=1).stderr


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_loses_no_photo(tmp_path):
    "Only where Ray, moto and s3fs are installed."
    for o in ('ray', 'moto', 's3fs'): pytest.importorskip(o)
    script = Path(__file__).parents[1]/'benchmarks/cluster.py' # which compares the tables
    done = subprocess.run([sys.executable, script, '--photos', '64', '--nodes', '2'], cwd=tmp_path, env=os.environ | PATIENT, capture_output=True, text=True)
    assert 'the same table, byte for byte' in done.stdout, done.stderr[-2000:]
