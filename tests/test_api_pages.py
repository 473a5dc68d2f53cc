"""nbdev documents every notebook: its imports and exports run, and `show_doc` has something to say about each public name."""
import re
import warnings
from pathlib import Path

import pytest
from fastcore.nbio import read_nb
from nbdev.processors import FilterDefaults

NOTEBOOKS = sorted(Path(__file__).parents[1].glob('nbs/**/[!_.]*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda o: o.name)
def test_the_names_of_a_notebook_are_documented(path, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1') # as nbdev does, so that nothing is exported meanwhile
    nb = read_nb(path)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', message='Found cells containing imports and other code')
        FilterDefaults()(nb)
    documented = [c for c in nb.cells if c.cell_type == 'code' and 'show_doc(' in c.source and c.source.startswith('#|')]
    assert all(any('text/markdown' in o.get('data', {}) for o in c.outputs) for c in documented)
    public = [c for c in read_nb(path).cells if c.source.startswith('#| export\n') and re.search(r'^(?:async def|def|class) [A-Za-z]', c.source, re.M)]
    assert documented or not public
