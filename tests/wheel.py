"""Build the wheel, install it into an empty environment without torch, and import from there what must not need torch."""
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ('torch', 'torchvision', 'fastai')
TORCH_FREE = ('core', 'scan', 'labelstudio', 'match', 'images', 'votes', 'copies', 'split', 'process', 'report', 'manifest', 'annotators', 'realities', 'rawstudy',
              'data', 'metrics', 'judgement', 'cli')


def run(*command, **kw): subprocess.run([str(o) for o in command], check=True, **kw)


with tempfile.TemporaryDirectory() as folder:
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', folder, ROOT)
    wheel = next(Path(folder).glob('*.whl'))
    venv.create(Path(folder)/'empty', with_pip=True)
    python = Path(folder)/'empty'/('Scripts' if sys.platform == 'win32' else 'bin')/'python'
    needs = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['dependencies']
    run(python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', *[o for o in needs if not o.startswith(HEAVY)])
    run(python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-deps', wheel)
    code = f'import importlib\nfor m in {TORCH_FREE}: importlib.import_module("anklealign." + m)\nfrom anklealign.rawstudy import demo_study; assert demo_study().exists()'
    run(python, '-I', '-c', code, cwd=folder)
    run(python.with_name('anklealign'), '--version', cwd=folder)
    print(f'{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(TORCH_FREE)} torch-free modules import without torch')
