"""Some of the mutants that `benchmarks/campaigns.py` tries by the thousand: nothing of what lies beside a study stops it."""
import pytest
from mutants import TINY, archive, control, damage_study, fresh, mutant, wrong_with_archive, wrong_with_study

from anklealign.data import prepare


@pytest.mark.parametrize('seed', range(0, 200, 20))
def test_no_mutant_stops_a_study(tmp_path, seed):
    raw = control(tmp_path/'raw')
    for i in range(seed, seed + 20): mutant(raw, i, f'H51B{i - seed:02}')
    assert wrong_with_study(raw, tmp_path/'o') == ''
    damage_study(tmp_path/'o/processed', seed)
    assert wrong_with_study(raw, tmp_path/'o') == ''


def test_no_archive_is_an_error_of_its_own(tmp_path):
    raw = control(tmp_path/'raw')
    prepare(raw, tmp_path/'there/o', TINY)
    for i in range(60):
        archive(raw, tmp_path/'a.zip', i)
        assert (i, wrong_with_archive(tmp_path/'a.zip', tmp_path/'there/o')) == (i, '')
    fresh(tmp_path)
