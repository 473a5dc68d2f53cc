"""Raw studies with every known defect, in each layout: the report must say what became of each."""
import csv
import json

import pytest

from anklealign.phantom.study import check_injected, drawn_phantoms, plan_study, planned_labels, write_study


@pytest.mark.parametrize('layout', ['both', *(pytest.param(o, marks=pytest.mark.slow) for o in ('owners', 'consensus'))])
def test_report_accounts_for_every_defect(ankle, tmp_path, layout):
    drawings = drawn_phantoms(180, seed=3)
    raw = write_study(tmp_path/'raw', drawings, seed=5, layout=layout)
    ankle('prepare', raw)
    study = ankle.home/'output/processed'
    report = json.loads((study/'report.json').read_text())
    assert check_injected(raw, report['items']) == []
    images, notes = report['images'], report['annotations']
    assert images['found'] == images['used'] + images['merged'] + images['dropped'] and notes['found'] == notes['votes'] + notes['dropped']
    on_disk = {p.relative_to(raw).as_posix() for p in raw.rglob('*') if p.is_file()}
    assert {o['item'] for o in report['items'] if o['kind'] != 'annotation'} == on_disk
    rows = {o['source']: o for o in csv.DictReader((study/'metadata.csv').open())}
    assert {k: o['label'] for k, o in rows.items()} == planned_labels(plan_study(drawings, 5, layout))
    assert len(rows) == images['used'] > .85 * images['found']
    assert sum(int(o['n_votes']) for o in rows.values()) == notes['votes']
    near = [o for o in csv.DictReader((raw/'planted.csv').open()) if o['expected'] == 'near']
    assert near and all(rows[o['item']]['group'] == rows[o['reason']]['group'] for o in near if o['reason'] in rows)
    truth = {o['file']: o['angle_deg'] for o in csv.DictReader((raw/'phantom.csv').open())}
    assert all(float(o['angle_deg']) == float(truth[k]) for k, o in rows.items() if k in truth)


@pytest.mark.slow
def test_participants_never_stand_in_two_splits(ankle, tmp_path):
    raw = write_study(tmp_path/'raw', drawn_phantoms(260, seed=4), seed=6, layout='owners')
    ankle('prepare', raw)
    split = {}
    truth = {o['file']: o['participant'] for o in csv.DictReader((raw/'phantom.csv').open())}
    named = [o for o in csv.DictReader((ankle.home/'output/processed/metadata.csv').open()) if o['participant']]
    for o in named: split.setdefault((o['owner'], truth[o['source']]), set()).add(o['split'])
    assert len(named) > 200 and all(len(o) == 1 for o in split.values())
