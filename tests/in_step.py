"""Fail, naming the file, if a notebook is not clean or a generated file is not what its notebooks give."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = shutil.ignore_patterns('.venv', '.git', 'output', '__pycache__', '*.egg-info', '_docs', '_proc', 'build', 'dist')
GENERATED = ('nbs/**/*.ipynb', 'anklealign/**/*.py', 'README.md')


def regenerated(folder):
    "A copy of the project after cleaning and exporting."
    copy = Path(folder)/'project'
    shutil.copytree(ROOT, copy, ignore=COPIED, symlinks=True)
    for command in (['nbdev-clean'], ['nbdev-export'], [sys.executable, str(ROOT/'tests'/'readme.py'), '.']): subprocess.run(command, cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return copy


def differing(copy):
    "The generated files and notebooks that are not the same in both trees."
    names = {str(p.relative_to(root)) for root in (ROOT, copy) for pattern in GENERATED for p in root.glob(pattern) if '.ipynb_checkpoints' not in p.parts}
    same = {n for n in names if (ROOT/n).exists() and (copy/n).exists() and (ROOT/n).read_bytes() == (copy/n).read_bytes()}
    return sorted(names - same)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder: stale = differing(regenerated(folder))
    for name in stale: print(f'{name}: ' + ('not clean: run nbdev-clean' if name.endswith('.ipynb') else 'not in step with its notebook: run nbdev-export and make readme'))
    sys.exit(bool(stale))
