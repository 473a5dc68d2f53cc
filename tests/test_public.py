"""Everything without an underscore says what it is: a docstring, and a type for each argument; what users may import, a comment for each as well.

Read from the source, so nothing heavy is imported."""
import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

MODULES = sorted(o for o in (Path(__file__).parents[1]/'anklealign').rglob('*.py') if o.name not in ('__init__.py', '_modidx.py'))
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
COMMANDS = {'cli', 'terminal'} # modules whose functions are commands: their options carry a help text each
FIXED = re.compile(r'forward|activation|encodes|decodes|create|get_idxs|to_detach|emit|(before|after)_\w+') # methods whose meaning PyTorch, fastai or logging fixes


@cache
def parsed(path):
    "The tree of a module, and the numbers of its lines that end in a comment."
    text = path.read_text(encoding='utf-8')
    return ast.parse(text), {o.start[0] for o in tokenize.generate_tokens(io.StringIO(text).readline) if o.type == tokenize.COMMENT}


def listed(tree):
    "The names in `__all__`."
    return next((ast.literal_eval(o.value) for o in tree.body if isinstance(o, ast.Assign) and o.targets[0].id == '__all__'), [])


def public(path):
    "Every function and class without an underscore, and the methods of these classes, by their names."
    tree, _ = parsed(path)
    for o in tree.body:
        if isinstance(o, (*FUNCTIONS, ast.ClassDef)) and o.name[0] != '_':
            yield o.name, o
            methods = [m for m in o.body if isinstance(m, FUNCTIONS)] if isinstance(o, ast.ClassDef) else []
            yield from ((f'{o.name}.{m.name}', m) for m in methods if (m.name == '__init__' or m.name[0] != '_') and not FIXED.fullmatch(m.name))


def arguments(f):
    "The arguments of a function but for `self`, `cls`, `*args` and `**kwargs`."
    return [o for o in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs) if o.arg not in ('self', 'cls')]


def says_enough(o):
    "Whether an argument's name and type of our own say the same, as `recipe: Recipe` and `answers: Iterable[Answer]` do."
    return any(isinstance(n, ast.Name) and n.id.lower() in (o.arg.replace('_', ''), o.arg.removesuffix('s')) for n in ast.walk(o.annotation))


@pytest.mark.parametrize('path', MODULES, ids=lambda o: o.stem)
def test_public_names_exist(path):
    tree, _ = parsed(path)
    defined = {o.name for o in tree.body if isinstance(o, (*FUNCTIONS, ast.ClassDef))}
    defined |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert set(listed(tree)) <= defined


@pytest.mark.parametrize('path', MODULES, ids=lambda o: o.stem)
def test_public_things_have_a_docstring(path):
    without = [name for name, o in public(path) if not ast.get_docstring(o) and not name.endswith('.__init__')]
    assert without == []


@pytest.mark.parametrize('path', MODULES, ids=lambda o: o.stem)
def test_arguments_have_a_type_and_a_comment(path):
    tree, commented = parsed(path)
    untyped, silent, exported = [], [], listed(tree)
    for name, f in public(path):
        if not isinstance(f, FUNCTIONS): continue
        untyped += [f'{name}: {o.arg}' for o in arguments(f) if not o.annotation]
        if path.stem in COMMANDS or name.split('.')[0] not in exported: continue
        silent += [f'{name}: {o.arg}' for o in arguments(f) if o.annotation and o.end_lineno not in commented and not says_enough(o)]
    assert (untyped, silent) == ([], [])


@pytest.mark.parametrize('path', MODULES, ids=lambda o: o.stem)
def test_fields_of_data_classes_have_a_comment(path):
    "Those of the schemas are explained in the schema itself, and checked in its notebook."
    _, commented = parsed(path)
    classes = [(name, c) for name, c in public(path) if isinstance(c, ast.ClassDef) and any('dataclass' in ast.unparse(o) for o in c.decorator_list)]
    fields = [(name, o) for name, c in classes for o in c.body if isinstance(o, ast.AnnAssign) and o.target.id[0] != '_']
    assert [f'{name}.{o.target.id}' for name, o in fields if o.end_lineno not in commented and o.target.id.lower() != ast.unparse(o.annotation).lower()] == []
