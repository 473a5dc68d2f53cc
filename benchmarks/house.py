"""How the house is built: modules, names and imports; then cells, functions, prose, examples and docstrings, beside five nbdev projects.

python benchmarks/house.py [--worst 8] [--write]

Beside each figure stand the aim and, for the first ones, what the same count gave when all modules lay in one folder.
A line of code holds a token other than a comment; docstrings count. A helper is a function of a module whose name begins with an
underscore. Imports count wherever they stand, in functions too, but not those for type checking only; a module that imports none of ours is
a chain of 1. Lines of a function are counted without blank ones, with its signature and docstring. Arguments are those of the functions
and classes in `__all__`; what only other modules of ours use has a docment where name and type do not say it. A definition is shown or
tested if the next code cell is not exported, or a later one names it. Methods whose meaning a framework fixes are left out. With --worst
the largest are listed; --write keeps the figures in CONTRIBUTING.md and `anklealign/results/house.txt`. The other projects were counted
once, in 2026, by another script.
"""
import ast
import datetime
import functools
import io
import json
import re
import statistics
import tokenize
from collections import Counter
from pathlib import Path

from common import options

ROOT = Path(__file__).parents[1]
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
FIXED = re.compile(r'forward|activation|encodes|decodes|create|get_idxs|to_detach|emit|(before|after)_\w+') # PyTorch's, fastai's, logging's
KINDS = {'export': 'exported', 'exporti': 'exported', 'hide': 'hidden', 'default_exp': 'hidden'} # by a cell's directive
OTHERS = ('fastai', 'fastcore', 'nbdev', 'claudette', 'fastxtend')
AIMS = { # figure -> what we aim for, and the five others
    'lines of an exported cell, median / p90': ('≤ 8 / ≤ 25', '6/24', '6/17', '10/25', '8/22', '12/43'),
    'lines of a public function, median / p90': ('≤ 8 / ≤ 25', '4/13', '5/13', '6.5/23', '7/16', '5/27'),
    'longest function': ('≤ 50', *['']*5),
    'lines of a module, median / max': ('≤ 200 / ≤ 350', '184/1268', '264/1507', '199/503', '118/616', '159/872'),
    'definitions shown or tested': ('every one', '59 %', '81 %', '56 %', '74 %', '34 %'),
    'public functions with a docstring': ('every one', '48 %', '86 %', '81 %', '61 %', '42 %'),
    'public arguments typed / with a docment': ('every one', '24/31 %', '18/18 %', '47/58 %', '52/47 %', '60/44 %'),
    'star imports': ('none', '55 %', '15 %', '45 %', '19 %', '11 %'),
    'prose cells for one code cell': ('≥ .6', '.6', '.4', '.5', '.6', '.5'),
    'largest outputs of a notebook, KB': ('≤ 300', *['']*5),
}
HOUSE = { # figure -> what we aim for, and what it was when all modules lay in one folder
    'lines of code, without phantom': ('≤ 8500', 9492), 'modules': ('≤ 55', 76), 'public names': ('≤ 200', 717),
    'lines over 140 characters': ('0', 529), 'helpers used once, without phantom': ('≤ 138', 276),
    'longest chain of imports': ('≤ 8', 13), 'circles of imports': ('0', 1),
}
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def lines(text): return sum(bool(o.strip()) for o in text.splitlines() if not o.startswith('#|'))


def tree_of(text):
    try: return ast.parse(text)
    except SyntaxError: return ast.Module([], []) # a cell with a magic


def percentile(values, share): return sorted(values)[min(len(values) - 1, int(share*len(values)))]


def cells():
    "(notebook, kind, source, output bytes) of every cell; kinds are prose, exported, hidden and shown."
    for path in sorted(ROOT.glob('nbs/**/[!_.]*.ipynb')):
        for c in json.loads(path.read_text(encoding='utf-8'))['cells']:
            source = ''.join(c['source'])
            directive = re.match(r'#\|\s*(\w+)', source)
            kind = 'prose' if c['cell_type'] == 'markdown' else KINDS.get(directive and directive[1], 'shown')
            if source.strip(): yield path.stem, kind, source, len(json.dumps(c.get('outputs', [])))


def is_shown(name, later):
    "Whether the next code cell is an example, or a later example names the definition."
    if not later: return False
    if later[0][1] != 'exported' and 'nbdev_export' not in later[0][2]: return True
    return any(kind != 'exported' and re.search(rf'\b{name}\b', s) for _, kind, s, _ in later)


def modules():
    "(name, text, tree, lines with a comment) of every module; names are as in `study.files`."
    for path in sorted(ROOT.glob('anklealign/**/[!_]*.py')):
        text = path.read_text(encoding='utf-8')
        name = '.'.join(path.relative_to(ROOT/'anklealign').with_suffix('').parts)
        yield name, text, ast.parse(text), {o.start[0] for o in tokens(text) if o.type == tokenize.COMMENT}


def tokens(text): return list(tokenize.generate_tokens(io.StringIO(text).readline))


def code_lines(text): return len({n for o in tokens(text) if o.type not in NOT_CODE for n in range(o.start[0], o.end[0] + 1)})


def listed(tree):
    "The names in `__all__`."
    return next((ast.literal_eval(o.value) for o in tree.body if isinstance(o, ast.Assign) and ast.unparse(o.targets[0]) == '__all__'), [])


def executed(tree):
    "All nodes but those that only a type checker reads."
    for o in ast.iter_child_nodes(tree):
        if isinstance(o, ast.If) and ast.unparse(o.test).endswith('TYPE_CHECKING'): continue
        yield o
        yield from executed(o)


def imported(module, tree, names):
    "(module, name) of everything of ours that a module imports, wherever it does; the name is None for a module as a whole."
    for o in executed(tree):
        if isinstance(o, ast.Import): yield from ((a.name[11:], None) for a in o.names if a.name.startswith('anklealign.'))
        if not isinstance(o, ast.ImportFrom): continue
        folder = ['anklealign', *module.split('.')][:-o.level] if o.level else []
        source = '.'.join([*folder, *filter(None, [o.module])])
        if source.split('.')[0] != 'anklealign': continue
        source = source.removeprefix('anklealign').removeprefix('.')
        for a in o.names: yield (inner, None) if (inner := f'{source}.{a.name}'.removeprefix('.')) in names else (source, a.name)


def import_graph(found):
    "Every module with the modules of ours that it imports."
    names = {name for name, *_ in found}
    return {name: {o for o, _ in imported(name, tree, names)} & names - {name} for name, _, tree, *_ in found}


def reachable(graph, start):
    "The modules that `start` imports, and those that they import."
    seen, todo = set(), [start]
    while todo:
        new = graph[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def circles(graph):
    "Groups of modules each of which needs all others of its group."
    below = {o: reachable(graph, o) for o in graph}
    return sorted({tuple(sorted(p for p in below[o] if o in below[p])) for o in graph if o in below[o]})


def chains(graph):
    "The longest chain of imports that begins at each module, longest first; one of a circle counts once."
    @functools.cache
    def chain(module, above=frozenset()):
        below = (chain(o, above | {module} if o in circular else frozenset()) for o in sorted(graph[module]) if o not in above)
        return (module, *max(below, key=len, default=()))
    circular = {o for group in circles(graph) for o in group}
    return sorted(map(chain, graph), key=lambda o: (-len(o), o))


def used_once(found):
    "Private functions of modules, as `study.files._name`, that one place uses."
    foreign = {a.name for _, _, tree, *_ in found for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) for a in o.names}
    for module, _, tree, *_ in found:
        uses = Counter(o.id for o in ast.walk(tree) if isinstance(o, ast.Name))
        for o in tree.body:
            if not isinstance(o, FUNCTIONS) or not re.match('_[^_]', o.name) or o.name in foreign: continue
            if uses[o.name] - sum(isinstance(n, ast.Name) and n.id == o.name for n in ast.walk(o)) == 1: yield f'{module}.{o.name}'


def house_figures():
    "Figures of the house, and what of them is worst."
    found = list(modules())
    graph = import_graph(found)
    product = {name: code_lines(text) for name, text, *_ in found if not name.startswith('phantom.')}
    public = {name: listed(tree) for name, _, tree, _ in found}
    wide = [(len(line), f'{name}:{i}') for name, text, *_ in found for i, line in enumerate(text.splitlines(), 1) if len(line) > 140]
    once, long, rings = [o for o in used_once(found) if not o.startswith('phantom.')], chains(graph), circles(graph)
    figures = sum(product.values()), len(found), sum(map(len, public.values())), len(wide), len(once), len(long[0]), len(rings)
    helpers = {k: [o.rpartition('.')[2] for o in once if o.rpartition('.')[0] == k] for k in product}
    names = lambda table: [(len(v), f"{k}: {', '.join(v)}") for k, v in sorted(table.items(), key=lambda o: -len(o[1])) if v]
    return dict(zip(HOUSE, figures, strict=True)), {
        'most lines of code': sorted(((n, o) for o, n in product.items()), reverse=True), 'most public names': names(public),
        'widest lines': sorted(wide, reverse=True), 'most helpers used once': names(helpers),
        'longest chains of imports': [(len(o), ' → '.join(o)) for o in long], 'circles of imports': [(len(o), ', '.join(o)) for o in rings]}


def functions(tree):
    "(name, definition, whether public) of all functions of a module and methods of its classes."
    for o in tree.body:
        inside = [(f'{o.name}.', m) for m in o.body] if isinstance(o, ast.ClassDef) else [('', o)]
        for owner, f in inside:
            if not isinstance(f, FUNCTIONS): continue
            name = owner + f.name
            yield name, f, all(part == '__init__' or part[0] != '_' for part in name.split('.')) and not FIXED.fullmatch(f.name)


def arguments(f, module, commented):
    "(whether typed, whether with a docment) of each argument; a command's options carry their help text in their type."
    for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs):
        if a.arg not in ('self', 'cls'): yield bool(a.annotation), a.end_lineno in commented or module in ('app.cli', 'app.terminal')


def notebook_figures():
    "Figures of cells, and what of them is worst."
    found = list(cells())
    exported = [(lines(s), f'{nb}: {s.splitlines()[1][:60]}') for nb, kind, s, _ in found if kind == 'exported']
    sizes = [n for n, _ in exported]
    places = [(i, nb, o) for i, (nb, kind, s, _) in enumerate(found) if kind == 'exported' for o in tree_of(s).body]
    places = [o for o in places if isinstance(o[2], (*FUNCTIONS, ast.ClassDef)) and o[2].name[0] != '_']
    later = lambda i, nb: [o for o in found[i + 1:] if o[0] == nb and o[1] != 'prose']
    silent = [f'{nb}: {o.name}' for i, nb, o in places if not is_shown(o.name, later(i, nb))]
    prose, code = (Counter(nb for nb, kind, *_ in found if kind in kinds) for kinds in (('prose',), ('exported', 'shown')))
    per = {nb: prose[nb]/code[nb] for nb in code}
    outputs = {nb: sum(o[3] for o in found if o[0] == nb)/1000 for nb, *_ in found}
    figures = {'lines of an exported cell, median / p90': f'{statistics.median(sizes):g} / {percentile(sizes, .9)}',
               'definitions shown or tested': f'{1 - len(silent)/len(places):.0%} (n = {len(places)})',
               'prose cells for one code cell': f'{prose.total()/code.total():.2f}',
               'largest outputs of a notebook, KB': f'{max(outputs.values()):.0f}'}
    worst = {'longest exported cells': sorted(exported, reverse=True),
             'neither shown nor tested in their notebook': [('', o) for o in silent],
             'least prose for a code cell': [(f'{v:.2f}', k) for k, v in sorted(per.items(), key=lambda o: o[1])],
             'largest outputs, KB': [(f'{v:.0f}', k) for k, v in sorted(outputs.items(), key=lambda o: -o[1])]}
    return figures, worst


def module_figures():
    "Figures of modules, and what of them is worst."
    found = list(modules())
    size = [(lines(text), name) for name, text, *_ in found]
    every = [(name, n, f, public, n.split('.')[0] in listed(tree), commented)
             for name, _, tree, commented in found for n, f, public in functions(tree)]
    length = lambda f: f.end_lineno - f.lineno + 1
    public = [o for o in every if o[3]]
    sizes = [length(f) for _, _, f, *_ in public]
    longest = sorted(((length(f), f'{module}.{name}') for module, name, f, *_ in every), reverse=True)
    documented = [bool(ast.get_docstring(f)) for _, name, f, *_ in public if not name.endswith('__init__')]
    args = [a for module, _, f, _, exported, commented in public if exported for a in arguments(f, module, commented)]
    stars = sum(isinstance(n, ast.ImportFrom) and n.names[0].name == '*' for _, _, tree, _ in found for n in ast.walk(tree))
    figures = {'lines of a public function, median / p90': f'{statistics.median(sizes):g} / {percentile(sizes, .9)}',
               'longest function': str(longest[0][0]),
               'lines of a module, median / max': f'{statistics.median(n for n, _ in size):g} / {max(size)[0]}',
               'public functions with a docstring': f'{sum(documented)/len(documented):.0%} (n = {len(documented)})',
               'public arguments typed / with a docment': ' / '.join(f'{sum(o)/len(o):.0%}' for o in zip(*args, strict=True)),
               'star imports': str(stars or 'none')}
    return figures, {'longest functions': longest, 'longest modules': sorted(size, reverse=True)}


def markdown(head, rows):
    "A table of figures; the first column to the left, the others to the right."
    return '\n'.join([f"| | {' | '.join(head)} |", '|:--|' + '--:|'*len(head), *(f"| {' | '.join(o)} |" for o in rows)]) + '\n'


def plain(head, rows):
    "The same in columns of characters."
    widths = 18, 16, *[11]*len(OTHERS)
    return '\n'.join(f'{name:42}' + ''.join(f'{o:>{w}}' for o, w in zip(values, widths, strict=False)) for name, *values in [('', *head), *rows])


def write(text, tables):
    "Keep the figures where they are shown."
    (ROOT/'anklealign/results/house.txt').write_text(text + '\n', encoding='utf-8')
    page = ROOT/'CONTRIBUTING.md'
    parts = re.split('(<!-- (?:end of )?house -->\n)', page.read_text(encoding='utf-8'))
    page.write_text(''.join([*parts[:2], '\n'.join(markdown(*o) for o in tables), *parts[3:]]), encoding='utf-8')


def main():
    args = options(__doc__, worst=0, write=False)
    (house, rooms), (notebooks, cells), (code, more) = house_figures(), notebook_figures(), module_figures()
    counted = [(k, str(house[k]), aim, str(before)) for k, (aim, before) in HOUSE.items()]
    style = [(k, (notebooks | code)[k], aim, *others) for k, (aim, *others) in AIMS.items()]
    tables = (('ours', 'aim', 'before'), counted), (('ours', 'aim', *OTHERS), style)
    text = '\n'.join([f'{datetime.date.today()}:  python benchmarks/house.py', *(plain(*o) + '\n' for o in tables)]).rstrip()
    print(text)
    for title, found in (rooms | cells | more).items():
        if args.worst: print(f'\n{title}:', *(f'{n:>6}  {o}' for n, o in found[:args.worst]), sep='\n')
    if args.write: write(text, tables)


if __name__ == '__main__': main()
