"""The packages that the images need at the versions that are installed here, for constraints.txt: python tests/constraints.py > constraints.txt"""
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1]/'pyproject.toml').read_text())['project']
PYTHON = '3.11.2' # of the images' Debian
OLDER = {'soupsieve': '2.10'} # for packages whose version here wants a newer Python
BUILDERS = ['pip', 'setuptools']
GPU = 'nvidia-', 'cuda-', 'triton' # the images' PyTorch is the CPU's, which brings none of them; the GPU's pins them itself


def wanted():
    "What the two images are asked to install."
    extras = PROJECT['optional-dependencies']
    lab = [o for o in extras['dev'] if o.startswith('jupyterlab')]
    return [Requirement(o) for o in (*PROJECT['dependencies'], *extras['train'], *extras['serve'], *lab, *BUILDERS)]


def needed(requirement):
    "The requirements of an installed package that hold here, with the extras it is asked for."
    lines = [Requirement(o) for o in requires(requirement.name) or []]
    return [o for o in lines if o.marker is None or any(o.marker.evaluate({'extra': e}) for e in requirement.extras | {''})]


def fitting(name):
    "The version of a package here, if the images' Python will do for it."
    here, wants = version(name), metadata(name).get('Requires-Python', '')
    if PYTHON in SpecifierSet(wants): return here.split('+')[0]
    raise SystemExit(f'{name} {here} wants Python {wants}, the images have {PYTHON}: name an older version in OLDER of tests/constraints.py.')


def pinned(todo):
    "Package → its version here, for all that `todo` brings."
    found, seen = {}, set()
    while todo:
        o = todo.pop()
        name = canonicalize_name(o.name)
        if name.startswith(GPU) or (name, *sorted(o.extras)) in seen: continue
        seen.add((name, *sorted(o.extras)))
        found[name] = OLDER.get(name) or fitting(name)
        todo += needed(o)
    return found


if __name__ == '__main__':
    try: found = pinned(wanted())
    except PackageNotFoundError as e: raise SystemExit(f'{e.name} is not installed here: run make test first.') from None
    print('# What the images install, and at which version. Made by: python tests/constraints.py > constraints.txt')
    for o in sorted(found): print(f'{o}=={found[o]}')
