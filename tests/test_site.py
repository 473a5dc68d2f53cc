"""The site, as far as it can be checked without Quarto: pages and sidebar, links and anchors, commands, alternative texts, citations, generated pages."""
import ast
import html
import json
import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import typer.main
import yaml
from fastcore.nbio import read_nb
from markdown_it import MarkdownIt
from nbdev.processors import FilterDefaults

from anklealign._modidx import d as INDEX
from anklealign.app.cli import app
from anklealign.inference.bundle import read_bundle
from anklealign.storage import demo_bundle

ROOT = Path(__file__).parents[1]
NBS = ROOT/'nbs'
SITE = yaml.safe_load((NBS/'_quarto.yml').read_text(encoding='utf-8'))['website']
PAGES = sorted(o for suffix in ('ipynb', 'qmd', 'md') for o in NBS.rglob(f'*.{suffix}') if o.name[0] not in '_.' and '.ipynb_checkpoints' not in o.parts)
TEXTS = [*PAGES, *(o for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md') if (o := ROOT/name).exists())]
NAMES = [str(o.relative_to(ROOT)) for o in TEXTS]


class Static(FilterDefaults):
    "nbdev's own preprocessing, without running anything."
    def base_procs(self): return [o for o in super().base_procs() if o.__name__ != 'exec_show_docs']


@cache
def processed(path):
    "A notebook as nbdev hands it to Quarto, but for the output of `show_doc`."
    nb = read_nb(path)
    Static()(nb)
    return nb


@cache
def texts(path):
    "The Markdown of a page: its cells and their Markdown outputs, or the file."
    if path.suffix != '.ipynb': return [re.sub(r'\A---\n.*?\n---\n', '', path.read_text(encoding='utf-8'), flags=re.S)]
    outputs = [''.join(o.data['text/markdown']) for c in processed(path).cells for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    return [c.source for c in processed(path).cells if c.cell_type == 'markdown' and c.source] + outputs


@cache
def tokens(path):
    "Everything that Markdown finds on a page, inner parts included."
    found = [o for text in texts(path) for o in MarkdownIt('commonmark').enable(['table', 'strikethrough']).parse(text)]
    return found + [inner for o in found for inner in o.children or []]


def identifier(heading):
    "Pandoc's identifier of a heading."
    if explicit := re.search(r'\{#([\w.-]+)[^}]*\}\s*$', heading): return explicit[1]
    text = re.sub(r'\[([^\]]*)\]\([^)]*\)|[`*]', r'\1', heading).lower()
    return re.sub(r'^[^a-zà-ž]+', '', re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', text).strip())) or 'section'


@cache
def anchors(path):
    "What a link into a page may name: headings, ids, and the names that a notebook defines."
    places = tokens(path)
    headings = [places[i + 1].content for i, o in enumerate(places[:-1]) if o.type == 'heading_open']
    ids = re.findall(r'\{[^}]*#([\w.-]+)|<a id="([^"]+)"', '\n'.join(texts(path)))
    own = [link.partition('#')[2] for module in INDEX['syms'].values() for link, _ in module.values() if link.partition('#')[0] == output_file(path)]
    return {identifier(o) for o in headings} | {a or b for a, b in ids} | set(own)


def output_file(path):
    "The name of a page on the site."
    folder, name = path.relative_to(NBS).parent, path.with_suffix('.html').name
    return (folder/(name if path.suffix != '.ipynb' else next(iter(re.findall(r'^output-file: (\S+)', processed(path).cells[0].source, re.M)), name))).as_posix()


def entries(contents):
    "The pages that a sidebar names."
    for o in contents:
        if isinstance(o, str): yield o
        else: yield from ([o['href']] if 'href' in o else []) + list(entries(o.get('contents', [])))


def strict(**keys): return {'type': 'object', 'additionalProperties': False, 'properties': keys}


TEXT, YES = {'type': 'string'}, {'type': 'boolean'}
ITEM = {'anyOf': [TEXT, strict(text=TEXT, href=TEXT, section=TEXT, contents={'type': 'array', 'items': {'$ref': '#/$defs/item'}})]}
QUARTO = strict( # what Quarto's own schema says of the keys that are used here
    project=strict(type={'enum': ['default', 'website', 'book', 'manuscript']}, resources={'type': 'array', 'items': TEXT}),
    format=strict(html=strict(theme=strict(light=TEXT, dark=TEXT), toc=YES, css=TEXT, **{'code-copy': {'enum': [True, False, 'hover']}, 'code-overflow': {'enum': ['scroll', 'wrap']}}),
                  commonmark={'const': 'default'}),
    website=strict(title=TEXT, description=TEXT, favicon=TEXT, search=YES, **{'site-url': TEXT, 'repo-url': TEXT, 'repo-subdir': TEXT, 'repo-branch': TEXT},
                   **{'repo-actions': {'type': 'array', 'items': {'enum': ['none', 'edit', 'source', 'issue']}}, 'page-footer': strict(left=TEXT, center=TEXT, right=TEXT)},
                   navbar=strict(background=TEXT, search=YES, tools={'type': 'array', 'items': strict(icon=TEXT, href=TEXT, text=TEXT)}),
                   sidebar=strict(style={'enum': ['docked', 'floating']}, contents={'type': 'array', 'items': {'$ref': '#/$defs/item'}},
                                  **{'collapse-level': {'type': 'integer'}})),
    **{'metadata-files': {'type': 'array', 'items': TEXT}}) | {'$defs': {'item': ITEM}}


def test_the_configuration_is_one_that_quarto_takes():
    jsonschema.validate(yaml.safe_load((NBS/'_quarto.yml').read_text(encoding='utf-8')), QUARTO)
    assert (NBS/SITE['favicon']).exists() and (NBS/'site.css').exists()
    for key, value in (('favicon', False), ('favico', 'icon.svg')):
        with pytest.raises(jsonschema.ValidationError): jsonschema.validate({'website': {key: value}}, QUARTO)


def test_every_page_stands_once_in_the_sidebar_and_has_a_title_and_a_name_of_its_own():
    assert sorted(entries(SITE['sidebar']['contents'])) == sorted(o.relative_to(NBS).as_posix() for o in PAGES)
    assert [o for o, n in Counter(map(output_file, PAGES)).items() if n > 1] == []
    for o in PAGES:
        start = processed(o).cells[0].source if o.suffix == '.ipynb' else o.read_text(encoding='utf-8')
        assert re.match(r'---\n(.*\n)*?title: .+', start) or start.startswith('# '), f'{o.name} has no title'


@pytest.mark.parametrize('path', [o for o in PAGES if o.suffix == '.ipynb'], ids=lambda o: o.name)
def test_a_notebook_becomes_a_page(path):
    code = [c for c in processed(path).cells if c.cell_type == 'code' and c.source]
    assert not [c.source for c in code if re.match(r'#\|\s*(export|hide|default_exp)', c.source)]
    assert all('#| output: asis' in c.source for c in code if 'show_doc(' in c.source)
    assert not [o for text in texts(path) for o in re.findall(r'\[\[`[^`]+`\]\([^)]*\)\]', text)], 'nbdev links names in backticks by itself'
    assert not [o.get('evalue') for c in code for o in c.outputs if o.output_type == 'error']
    assert sum(len(json.dumps(c.get('outputs', []))) for c in read_nb(path).cells) < 300_000, 'more than 300 KB of outputs'


def target(path, href):
    "The page or file that a link means, and its fragment; nothing for a link to elsewhere."
    for home, folder in ((SITE['site-url'], NBS), (SITE['repo-url'] + '/blob/main/', ROOT)):
        if href.startswith(home):
            name, _, fragment = href.removeprefix(home).partition('#')
            return next((o for o in PAGES if folder is NBS and output_file(o) == (name or 'index.html')), folder/name), fragment
    url = urlsplit(href)
    if url.scheme or url.netloc or href.startswith('/data/'): return None
    return (path.resolve() if not url.path else (path.resolve().parent/unquote(url.path)).resolve()), url.fragment


@pytest.mark.parametrize('path', TEXTS, ids=NAMES)
def test_links_lead_somewhere(path):
    hrefs = [o.attrs.get('href', o.attrs.get('src')) for o in tokens(path) if o.type in ('link_open', 'image')]
    broken = []
    for href in map(str, hrefs):
        if not (found := target(path, href)): continue
        file, fragment = found
        if not file.exists() or (fragment and file.suffix in ('.ipynb', '.qmd', '.md') and unquote(fragment) not in anchors(file)): broken.append(href)
    assert broken == []


@pytest.mark.parametrize('path', TEXTS, ids=NAMES)
def test_pictures_have_alternative_texts(path):
    assert [o.attrs['src'] for o in tokens(path) if o.type == 'image' and len(o.content.strip()) < 8] == []
    written = '\n'.join(o.content for o in tokens(path) if o.type.startswith('html'))
    cells = processed(path).cells if path.suffix == '.ipynb' else []
    shown = ''.join(''.join(o.data['text/html']) for c in cells for o in c.get('outputs', []) if 'text/html' in o.get('data', {}))
    assert [o for o in re.findall(r'<img\b[^>]*>', written + shown) if not re.search(r'\balt="[^"]{8,}"', o)] == []


@pytest.mark.parametrize('path', [o for o in PAGES if o.suffix == '.ipynb'], ids=lambda o: o.name)
def test_drawn_pictures_have_alternative_texts(path):
    drawn = [c for c in processed(path).cells if any(k.startswith('image/') for o in c.get('outputs', []) for k in o.get('data', {}))]
    assert [c.source.splitlines()[-1] for c in drawn if c.source and not re.search(r'^#\| fig-alt: .{15,}$', c.source, re.M)] == []


COMMANDS = typer.main.get_command(app).commands


def said(path):
    "The lines with `anklealign` that a reader is told to type."
    for o in tokens(path):
        if o.type == 'fence' and o.info.strip() in ('sh', 'bash', 'console'): yield from re.findall(r'^(?:\$ )?(anklealign .*)$', o.content, re.M)
        if o.type == 'code_inline' and re.match(r'anklealign [a-z]+( |$)', o.content): yield o.content


@pytest.mark.parametrize('path', TEXTS, ids=NAMES)
def test_commands_exist_and_know_their_options(path):
    for line in said(path):
        _, name, *words = shlex.split(html.unescape(line), comments=True)
        assert name in COMMANDS, line
        command = COMMANDS[name]
        if hasattr(command, 'commands'): command = command.commands[words.pop(0)]
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {'--help', '-h'}
        assert [o for o in words if o.startswith('-') and o != '-' and o.split('=')[0] not in known] == [], line


@pytest.mark.parametrize('path', TEXTS, ids=NAMES)
def test_files_of_the_project_that_are_named_exist(path):
    named = {o.content for o in tokens(path) if o.type == 'code_inline'}
    files = {o for o in named if re.fullmatch(r'(tests|benchmarks|nbs|\.github|\.ci)/[\w./-]+', o)}
    notebooks = {o for o in named if re.fullmatch(r'\d\d_\w+', o)}
    assert sorted(o for o in files if not (ROOT/o).exists()) + sorted(o for o in notebooks if not (NBS/f'{o}.ipynb').exists()) == []


def test_citations_and_references_belong_together():
    entries = re.findall(r'^@\w+\{(\w+),\n(.*?)^\}', (NBS/'references.bib').read_text(encoding='utf-8'), re.M | re.S)
    cited = {k for o in NBS.rglob('*.qmd') for k in re.findall(r'(?<![\w`])@([a-z]+\d{4}\w*)', o.read_text(encoding='utf-8'))}
    assert sorted(k for k, _ in entries) == sorted(cited)
    assert [k for k, text in entries if not re.search(r'doi\s*=\s*\{10\.\d{4,}/\S+\}', text)] == []


def outputs(name):
    "The Markdown outputs that a notebook is stored with."
    stored = (o.get('data', {}) for c in read_nb(NBS/name).cells for o in c.get('outputs', []))
    return '\n'.join(''.join(o['text/markdown']) for o in stored if 'text/markdown' in o)


def test_the_model_card_is_that_of_the_model_that_ships():
    card = read_bundle(demo_bundle()).about.model_card
    assert outputs('guides/model_card.ipynb').strip() == card.split('\n# ', 1)[1].split('\n', 1)[1].strip(), 'run nbdev-test nbs/guides/model_card.ipynb --save'


def test_every_stored_result_is_shown_as_it_is():
    page = outputs('guides/benchmarks.ipynb')
    for o in sorted((ROOT/'anklealign'/'results').iterdir()):
        name = f"{o.name.split('.')[0]}.py" # recipes.folds.csv is written by recipes.py
        script = next(p for p in (ROOT/'benchmarks'/name, ROOT/'tests'/name) if p.exists())
        doc = ast.get_docstring(ast.parse(script.read_text(encoding='utf-8')))
        rows = f"{len(o.read_text(encoding='utf-8').splitlines()) - 1:,} rows"
        shown = o.read_text(encoding='utf-8').rstrip() in page if o.suffix == '.txt' else f'`{o.name}` has {rows}' in page
        assert shown and ' '.join(doc.split('\n\n')[0].split()) in page, f'{o.name}: run nbdev-test nbs/guides/benchmarks.ipynb --save'
