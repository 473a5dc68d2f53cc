"""The house keeps its order: who may import whom, what is public, what a chapter shows, which settings exist.

`benchmarks/house.py` reads the source, and says what is worst."""
import ast
import configparser
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import apart

import anklealign
from anklealign.core import Settings, load_settings

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT/'benchmarks'))
import house  # noqa: E402

GROUND = {'core', 'storage', 'images', 'decision'}
TRAINING = GROUND | {'study', 'heels', 'inference'}
BELOW = { # part of the house -> what it may import beside itself; nothing imports `phantom`
    'core': set(), 'storage': {'core'}, **dict.fromkeys(('images', 'decision'), {'core', 'storage'}), 'study': GROUND, 'heels': GROUND,
    'inference': GROUND | {'heels'}, 'training': TRAINING, 'evaluation': TRAINING | {'training'}, 'data': GROUND | {'study'},
    'baseline': TRAINING | {'training', 'data'},
    'gapcnn': TRAINING | {'training', 'data', 'baseline'},
    'transfer': TRAINING | {'training', 'data', 'baseline', 'gapcnn'},
    'eval': TRAINING | {'training', 'evaluation', 'data', 'deploy'}, 'deploy': GROUND | {'heels', 'inference'},
}
BELOW |= {'loop': set(BELOW)}
BELOW |= {'app': set(BELOW), 'phantom': set(BELOW)}
WORDS = {'00_data': ('DataBlock(', '.show_batch('), '01_baseline': (' Learner(', '.fit('),
         '02_gapcnn': ('.lr_find(', 'EarlyStoppingCallback('), '03_transfer': ('.fine_tune(',),
         '04_eval': ('ClassificationInterpretation',), '05_deploy': ('Predictor(',)}
PROJECT = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']
ENTRIES = [o.partition(':')[2] for group in (PROJECT['scripts'], *PROJECT['entry-points'].values()) for o in group.values()]
INTERFACE = {*anklealign.__all__, *ENTRIES, 'tune', 'cross_validate', 'TinyCNN', 'GAPCNN', 'Transfer', 'show_grid', 'show_overview',
             'make_study'} # for users
HEAVY = {'torch', 'torchvision', 'fastai', 'pandas', 'scipy', 'sklearn', 'matplotlib'}
LIGHT = {'numpy', 'PIL', 'onnxruntime', 'pydantic', 'typer'} # what answers need

MODULES = list(house.modules())
GRAPH = house.import_graph(MODULES)
PUBLIC = [(name, o) for name, _, tree, _ in MODULES for o in house.listed(tree)]


def part(module): return module.split('.')[0]


def held(what, offenders):
    assert not offenders, f'{what}: {offenders}'


def code(notebook):
    "The code of a notebook, without its magics."
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(o['source']) for o in cells if o['cell_type'] == 'code' and o['source'] and o['source'][0][0] not in '%!')


def test_a_part_imports_only_what_stands_below_it():
    held('imports', [f'{a} → {b}' for a in GRAPH for b in sorted(GRAPH[a]) if part(b) not in BELOW[part(a)] | {part(a)}])


def test_imports_are_short_chains_without_circles():
    held('circles', house.circles(GRAPH))
    held('depth', [' → '.join(o) for o in house.chains(GRAPH) if len(o) > 8])


@pytest.mark.parametrize('module, heavy', [('anklealign', HEAVY | LIGHT), ('anklealign.deploy', HEAVY), ('anklealign.app.cli', HEAVY),
                                           ('anklealign.loop.backend', HEAVY)])
def test_importing_loads_nothing_heavy(module, heavy):
    done = subprocess.run([sys.executable, '-c', f'import sys, {module}; print(*sys.modules)'], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def test_the_docstring_of_the_package_runs(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(anklealign, 'demo_study', lambda: raw) # a smaller one, and less training
    monkeypatch.setitem(anklealign.recipes, 'baseline', replace(anklealign.recipes['baseline'], size=64, epochs=1))
    def example():
        exec(textwrap.dedent(anklealign.__doc__.partition('\n\n')[2]), names := {})
        assert (names['run']/'model.safetensors').exists() and isinstance(names['answer'], anklealign.Answer)
    apart(example)
    assert set(anklealign.__all__) <= set(dir(anklealign)) and all(hasattr(anklealign, o) for o in anklealign.__all__)


@pytest.mark.parametrize('chapter', WORDS)
def test_a_chapter_speaks_fastai(chapter):
    held('words', [o for o in WORDS[chapter] if o not in code(ROOT/f'nbs/{chapter}.ipynb')])


def test_public_names_are_used_elsewhere():
    notebooks = {path: code(path) for path in ROOT.glob('nbs/**/[!.]*.ipynb')}
    texts = [(text.partition('default_exp ')[2].split('\n')[0].strip() or path.stem, ast.parse(text)) for path, text in notebooks.items()]
    sources = texts + [(name, tree) for name, _, tree, _ in MODULES]
    used = {o for name, tree in sources for o in house.imported(name, tree, set(GRAPH)) if o[0] != name}
    held('used', [f'{m}.{o}' for m, o in PUBLIC if (m, o) not in used and o not in INTERFACE])


def test_pages_name_the_modules_there_are():
    pages = {o: (ROOT/o).read_text(encoding='utf-8') for o in ('CONTRIBUTING.md', 'CHANGELOG.md')}
    named = {o for text in pages.values() for o in re.findall(r'`((?:study|training|evaluation|inference|app|phantom)[./]\w+)`', text)}
    assert sorted(o for o in named if o.replace('/', '.') not in GRAPH) == []
    drawing = pages['CONTRIBUTING.md'].split('```')[1]
    rooms = re.findall(r'^  (\w+)/ +((?:\w+ |\w+\n(?: {15}(?=\w))?)+)', drawing, flags=re.M)
    drawn = {o if room == 'core' else f'{room}.{o}' for room, names in rooms if room != 'guides' for o in names.split()}
    assert drawn == {o for o in GRAPH if '.' in o or o in GROUND}


def defined(tree):
    "The names that a module has."
    for o in tree.body:
        if isinstance(o, (*house.FUNCTIONS, ast.ClassDef)): yield o.name
        else: yield from (getattr(n, 'id', '') or n.asname or n.name for n in ast.walk(o) if isinstance(n, (ast.Name, ast.alias)))


def test_scripts_import_what_there_is():
    known = {name: {None, *defined(tree)} for name, _, tree, _ in MODULES} | {'': {*dir(anklealign), *map(part, GRAPH)}, '_modidx': {'d'}}
    scripts = {o.name: ast.parse(o.read_text(encoding='utf-8')) for folder in ('benchmarks', 'tests') for o in ROOT.glob(f'{folder}/*.py')}
    wanted = [(script, *o) for script, tree in scripts.items() for o in house.imported(script, tree, set(GRAPH))]
    assert [f'{script}: {module}.{name}' for script, module, name in wanted if name not in known.get(module, ())] == []


def test_no_name_is_public_twice():
    held('once', [f"{o}: {', '.join(m for m, p in PUBLIC if p == o)}" for o, n in Counter(o for _, o in PUBLIC).items() if n > 1])


def sections():
    "Every section of `Settings` with its model; `run` holds what stands in none."
    return {'run': Settings} | {k: o.annotation for k, o in Settings.model_fields.items() if hasattr(o.annotation, 'model_fields')}


def attributes():
    "(section, key) of every attribute read of something that is named or typed as a section; `settings` where an argument has no type."
    typed = {o.__name__: s for s, o in sections().items()}
    for f in (f for name, _, tree, _ in MODULES if name != 'core' for f in ast.walk(tree) if isinstance(f, house.FUNCTIONS)):
        section = {a.arg: typed.get(ast.unparse(a.annotation).strip("'").split('|')[0], a.arg) for a in f.args.args if a.annotation}
        for o in (o for o in ast.walk(f) if isinstance(o, (ast.Attribute, ast.Call))):
            listed = isinstance(o, ast.Call) and ast.unparse(o.func) == 'getattr'
            if isinstance(o, ast.Call) and not listed: continue
            owner, key = (o.args[0], 'model_dump') if listed else (o.value, o.attr)
            yield section.get(owner.id, owner.id) if isinstance(owner, ast.Name) else getattr(owner, 'attr', ''), key


def test_settings_have_keys_and_readers():
    ini, read = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=('#', ';')), set(attributes())
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    assert load_settings(ROOT/'settings.ini', env={}) == Settings()
    fields = {(s, k) for s, o in sections().items() for k in o.model_fields if s != 'run' or k not in sections()}
    held('keys', sorted(fields ^ {(s, k) for s in ini.sections() for k in ini[s]}))
    readers = {(s, k): {(s, k), (s, 'model_dump'), ('settings', k), *[('chosen', k)] * (s == 'run')} for s, k in fields}
    held('readers', sorted(o for o, any_of in readers.items() if not any_of & read))
