"""How the notebooks and modules are built: sizes, prose, examples, docstrings, beside what we aim for and what five nbdev projects have.

python benchmarks/house.py [--worst 8]

Lines are counted without blank ones, a function's with its signature, an argument a line, and docstring. A definition is shown or tested if the next
code cell is not exported, or a later one names it. Methods whose meaning a framework fixes, and entries of a table of functions, are left out.
With --worst the largest are listed. The other projects were counted once, in 2026, by another script.
"""
import argparse
import ast
import datetime
import io
import json
import re
import statistics
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
FIXED = re.compile(r'forward|activation|encodes|decodes|get_idxs|to_detach|emit|(before|after)_\w+') # methods of PyTorch, fastai and logging
KINDS = {'export': 'exported', 'hide': 'hidden', 'default_exp': 'hidden'} # by a cell's directive
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


def registered(definition):
    "Whether it is an entry of a table of functions, which are shown, tested and documented together."
    return any(ast.unparse(o).split('(')[0] in ('defect', 'rare_defect') for o in definition.decorator_list)


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
    "(name, text, tree, lines with a comment) of every module."
    for path in sorted(ROOT.glob('anklealign/**/[!_]*.py')):
        text = path.read_text(encoding='utf-8')
        marks = tokenize.generate_tokens(io.StringIO(text).readline)
        yield path.stem, text, ast.parse(text), {o.start[0] for o in marks if o.type == tokenize.COMMENT}


def functions(tree):
    "(name, definition, whether public) of all functions of a module and methods of its classes."
    for o in tree.body:
        inner = [(f'{o.name}.{m.name}', m) for m in o.body if isinstance(m, FUNCTIONS)] if isinstance(o, ast.ClassDef) else [(getattr(o, 'name', ''), o)]
        for name, f in inner:
            if isinstance(f, FUNCTIONS): yield name, f, all(part == '__init__' or part[0] != '_' for part in name.split('.')) and not FIXED.fullmatch(f.name)


def arguments(f, module, commented):
    "(whether typed, whether with a docment) of each argument; a command's options carry their help text in their type."
    for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs):
        if a.arg not in ('self', 'cls'): yield bool(a.annotation), a.end_lineno in commented or module == 'cli'


def notebook_figures():
    "Figures of cells, and what of them is worst."
    found = list(cells())
    exported = [(lines(s), f'{nb}: {s.splitlines()[1][:60]}') for nb, kind, s, _ in found if kind == 'exported']
    sizes = [n for n, _ in exported]
    places = [(i, nb, o) for i, (nb, kind, s, _) in enumerate(found) if kind == 'exported' for o in tree_of(s).body]
    defined = [(i, nb, o.name) for i, nb, o in places if isinstance(o, (*FUNCTIONS, ast.ClassDef)) and o.name[0] != '_' and not registered(o)]
    silent = [f'{nb}: {name}' for i, nb, name in defined if not is_shown(name, [o for o in found[i + 1:] if o[0] == nb and o[1] != 'prose'])]
    prose, code = (Counter(nb for nb, kind, *_ in found if kind in kinds) for kinds in (('prose',), ('exported', 'shown')))
    per = {nb: prose[nb]/code[nb] for nb in code}
    outputs = {nb: sum(o[3] for o in found if o[0] == nb)/1000 for nb, *_ in found}
    figures = {'lines of an exported cell, median / p90': f'{statistics.median(sizes):g} / {percentile(sizes, .9)}',
               'definitions shown or tested': f'{1 - len(silent)/len(defined):.0%} (n = {len(defined)})', 'prose cells for one code cell': f'{prose.total()/code.total():.2f}',
               'largest outputs of a notebook, KB': f'{max(outputs.values()):.0f}'}
    worst = {'longest exported cells': sorted(exported, reverse=True), 'neither shown nor tested in their notebook': [('', o) for o in silent],
             'least prose for a code cell': [(f'{v:.2f}', k) for k, v in sorted(per.items(), key=lambda o: o[1])],
             'largest outputs, KB': [(f'{v:.0f}', k) for k, v in sorted(outputs.items(), key=lambda o: -o[1])]}
    return figures, worst


def module_figures():
    "Figures of modules, and what of them is worst."
    found = list(modules())
    size = [(lines(text), name) for name, text, *_ in found]
    every = [(name, n, f, public, commented) for name, _, tree, commented in found for n, f, public in functions(tree)]
    length = lambda f: f.end_lineno - f.lineno + 1
    public = [o for o in every if o[3]]
    sizes = [length(f) for _, _, f, *_ in public]
    longest = sorted(((length(f), f'{module}.{name}') for module, name, f, *_ in every), reverse=True)
    documented = [bool(ast.get_docstring(f)) for _, name, f, *_ in public if not name.endswith('__init__')]
    args = [a for module, name, f, _, commented in public if not registered(f) for a in arguments(f, module, commented)]
    stars = sum(isinstance(n, ast.ImportFrom) and n.names[0].name == '*' for _, _, tree, _ in found for n in ast.walk(tree))
    figures = {'lines of a public function, median / p90': f'{statistics.median(sizes):g} / {percentile(sizes, .9)}', 'longest function': str(longest[0][0]),
               'lines of a module, median / max': f'{statistics.median(n for n, _ in size):g} / {max(size)[0]}',
               'public functions with a docstring': f'{sum(documented)/len(documented):.0%} (n = {len(documented)})',
               'public arguments typed / with a docment': ' / '.join(f'{sum(o)/len(o):.0%}' for o in zip(*args, strict=True)), 'star imports': str(stars or 'none')}
    return figures, {'longest functions': longest, 'longest modules': sorted(size, reverse=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--worst', type=int, default=0)
    worst_n = parser.parse_args().worst
    (notebooks, worst), (code, more) = notebook_figures(), module_figures()
    print(f'{datetime.date.today()}:  python benchmarks/house.py')
    print(f"{'':42}{'ours':>18}{'aim':>16}" + ''.join(f'{o:>11}' for o in OTHERS))
    for name, (aim, *others) in AIMS.items(): print(f"{name:42}{(notebooks | code)[name]:>18}{aim:>16}" + ''.join(f'{o:>11}' for o in others))
    for title, found in (worst | more).items():
        if worst_n: print(f'\n{title}:', *(f'{n:>6}  {o}' for n, o in found[:worst_n]), sep='\n')


if __name__ == '__main__': main()
