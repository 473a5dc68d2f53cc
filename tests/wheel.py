"""Build the wheel and install it into an empty environment: it answers for a photo there, says what training needs, and imports without torch what must."""
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH_FREE = ('core', 'images', 'study.files', 'study.labelstudio', 'study.matching', 'study.votes', 'study.splits', 'study.preprocess',
              'study.manifest', 'phantom.defects', 'phantom.study', 'data', 'evaluation.metrics', 'evaluation.report', 'inference.bundle',
              'deploy', 'app.photos', 'app.terminal', 'app.cli')


def run(*command, **kw): subprocess.run([str(o) for o in command], check=True, **kw)


code = f"import importlib, sys\nfor m in {TORCH_FREE}: importlib.import_module('anklealign.' + m)\nsys.exit(' '.join({{'torch', 'torchvision', 'fastai'}} & set(sys.modules)) or 0)"
run(sys.executable, '-c', code) # it says which of them was imported, if any

with tempfile.TemporaryDirectory() as folder:
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', folder, ROOT)
    wheel = next(Path(folder).glob('*.whl'))
    data = {o.relative_to(ROOT).as_posix() for place in ('locale/*', 'app/static/*', 'evaluation/*.css', '*/*.md', 'phantom/*.npz') for o in (ROOT/'anklealign').glob(place)}
    with zipfile.ZipFile(wheel) as z: assert data <= set(z.namelist()), data - set(z.namelist())
    venv.create(Path(folder)/'empty', with_pip=False) # the pip that is here installs into it
    python = Path(folder)/'empty'/('Scripts' if sys.platform == 'win32' else 'bin')/'python'
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-compile', '--disable-pip-version-check', wheel)
    command = python.with_name('anklealign')
    run(command, '--version', cwd=folder)
    with zipfile.ZipFile(ROOT/'anklealign'/'demo_study.zip') as z:
        photo = next(o for o in z.namelist() if o.endswith('.jpg'))
        (Path(folder)/'photo.jpg').write_bytes(z.read(photo))
    said = subprocess.run([command, 'predict', 'photo.jpg'], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert 'demonstration model, trained on synthetic pictures' in said, said
    refused = subprocess.run([command, 'demo'], cwd=folder, capture_output=True, text=True)
    assert refused.returncode == 1 and "pip install 'anklealign[train]'" in refused.stderr, refused.stderr
    print(f'{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB; it answers for a photo without the training libraries; {len(TORCH_FREE)} modules import without torch')
