"""Build the images and use them as a user would: python tests/image.py [serve] [full] (`make image-test`: serve).

With Docker, if its daemon answers, and from the base that the Dockerfile names. Else, as root, with Podman, runc and debootstrap (Debian: apt install podman runc
debootstrap): on a base made here, in a folder for temporary files that is gone afterwards. pip's index is this machine's; the images don't keep it.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
LIMIT = {'serve': 700} # MB that the image may have
LEFT_OUT = {'serve': ['torch', 'fastai', 'matplotlib', 'pip', 'setuptools'], 'full': ['pip']} # packages that are not in the image
TOOLS = ['gcc', 'cc', 'g++', 'make', 'git', 'pip'] # nor are these
STRICT = ['--read-only', '--user', '12345:0', '--cap-drop', 'all', '--security-opt', 'no-new-privileges']
PIP = ['index-url', 'extra-index-url', 'find-links', 'trusted-host', 'cert'] # what of this machine's pip settings a build needs


def run(*command, **kw):
    "What a command says; whatever it says on the way to a failure is shown."
    done = subprocess.run([str(o) for o in command], capture_output=True, text=True, **kw)
    if done.returncode: raise SystemExit(f'{" ".join(map(str, command))[:400]}\n{done.stdout[-6000:]}{done.stderr[-6000:]}')
    return done.stdout.strip()


def engine(folder):
    "The command that builds and runs, the options its builds and runs need, and the base to build on if it is not the Dockerfile's."
    if shutil.which('docker') and not subprocess.run(['docker', 'info'], capture_output=True).returncode: return ['docker'], [], ['--network', 'none'], None
    if lacking := [o for o in ('podman', 'runc', 'debootstrap') if not shutil.which(o)]:
        raise SystemExit(f'Without a Docker daemon this needs {", ".join(lacking)} (Debian: apt install podman runc debootstrap), and to be root.')
    os.environ.setdefault('STORAGE_DRIVER', 'vfs') # works everywhere; overlay is faster
    podman = ['podman', '--root', folder/'storage', '--runroot', folder/'run', '--runtime', 'runc', '--cgroup-manager', 'cgroupfs']
    return podman, ['--isolation', 'chroot', '--format', 'docker', '--layers=false'], ['--network', 'none', '--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'], 'localhost/base'


SLIM = { # what makes a slim Debian of a small one, as the official image has it
    'etc/apt/apt.conf.d/slim': 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nDPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };\n',
    'etc/dpkg/dpkg.cfg.d/slim': ''.join(f'path-exclude /usr/share/{o}/*\n' for o in ('doc', 'man', 'info', 'locale'))}


def make_base(podman, folder, name):
    "A Debian to build on, made here."
    run('debootstrap', '--variant=minbase', 'bookworm', folder/'base')
    for path, text in SLIM.items(): (folder/'base'/path).write_text(text)
    for o in ('var/cache/apt', 'var/lib/apt/lists', *[f'usr/share/{o}' for o in ('doc', 'man', 'info', 'locale')]): shutil.rmtree(folder/'base'/o)
    (folder/'base/var/cache/apt/archives/partial').mkdir(parents=True)
    run('tar', '-C', folder/'base', '-cf', folder/'base.tar', '.')
    run(*podman, 'import', folder/'base.tar', name)
    for o in (folder/'base', folder/'base.tar'): shutil.rmtree(o) if o.is_dir() else o.unlink()


def pip_settings():
    "This machine's settings of pip that say where packages come from."
    lines = [o.split('=', 1) for o in run(sys.executable, '-m', 'pip', 'config', 'list').splitlines()]
    found = {}
    for key, value in lines:
        name = key.rpartition('.')[2]
        if name in PIP: found[name] = ' '.join(dict.fromkeys([*found.get(name, '').split(), *value.strip("'").replace('\\n', ' ').split()]))
    return found


def pip_options(folder, by_docker):
    "Options of a build that let it have pip's packages from where this machine has them."
    found, settings, mounts = pip_settings(), ConfigParser(interpolation=None), []
    if not by_docker: # Docker's builds see no folder of the machine
        local = [Path(urlsplit(o).path) for k in PIP[:3] for o in found.get(k, '').split() if urlsplit(o).scheme in ('', 'file')]
        mounts = [f'--volume={o}:{o}:ro' for o in sorted({str(o.parent if o.name == 'simple' else o) for o in local if o.exists()})]
    cert = found.pop('cert', None)
    if cert and not by_docker:
        shutil.copy(cert, folder/'cert.pem')
        mounts.append(f'--volume={folder/"cert.pem"}:/run/cert.pem:ro')
        found['cert'] = '/run/cert.pem'
    settings['global'] = found
    with open(folder/'pip.conf', 'w') as f: settings.write(f)
    return ['--secret', f'id=pip.conf,src={folder/"pip.conf"}', *mounts]


def size(command, image, folder):
    "Megabytes of the image's files, and of the image as an archive."
    made = run(*command, 'create', image)
    run(*command, 'export', '-o', folder/'files.tar', made)
    run(*command, 'rm', made)
    form = [] if command[0] == 'docker' else ['--format', 'oci-archive']
    run(*command, 'save', *form, '-o', folder/'image.tar', image)
    found = [(folder/o).stat().st_size / 1e6 for o in ('files.tar', 'image.tar')]
    for o in folder.glob('*.tar'): o.unlink()
    return found


def check_contents(command, options, image, target):
    "The command of its health check, after asking who runs it, what it says of itself, and whether what must not be in it is."
    about = json.loads(run(*command, 'image', 'inspect', image))[0]
    config = about['Config']
    health = (config.get('Healthcheck') or about.get('Healthcheck'))['Test']
    assert config['User'] == '1000:1000', config['User']
    labels = {o.removeprefix('org.opencontainers.image.') for o in config['Labels']}
    assert labels >= {'title', 'description', 'source', 'licenses', 'version', 'revision'}, labels
    assert '/health' in ' '.join(health) if target == 'serve' else health == ['NONE'], health
    assert not [o for o in config['Env'] if 'INDEX' in o or 'PROXY' in o.upper()], config['Env']
    ask = f'import importlib.util as u, shutil; print([o for o in {LEFT_OUT[target]} if u.find_spec(o)] + [o for o in {TOOLS} if shutil.which(o)])'
    found = run(*command, 'run', '--rm', *options, image, 'python', '-c', ask)
    assert found == '[]', found
    leaks = 'grep -rlsE "^(index-url|extra-index-url|find-links)" /etc /opt/venv/pip.conf /build /wheel; ls -d /build /wheel /etc/pip.conf 2>/dev/null; true'
    found = run(*command, 'run', '--rm', *options, image, 'sh', '-c', leaks)
    assert not found, found
    return health[1:]


@contextmanager
def running(command, *options):
    "A container; at the end it must stop by itself when it is told to."
    made = run(*command, 'run', '--detach', *options)
    try:
        yield made
        start = time.monotonic()
        run(*command, 'stop', '-t', '10', made)
        code = json.loads(run(*command, 'inspect', made))[0]['State']['ExitCode']
        assert time.monotonic() - start < 9 and code == 0, f'exit code {code} after {time.monotonic() - start:.0f} s'
    except BaseException:
        print(subprocess.run([*command, 'logs', made], capture_output=True, text=True))
        raise
    finally: run(*command, 'rm', '--force', made)


def until(check, seconds=60):
    "What `check` gives once it gives something."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check(): return found
        time.sleep(.5)
    raise AssertionError(f'nothing within {seconds} seconds')


def inside(command, made, code, *more, **kw):
    "What Python says inside a container: its network is its own, and nothing is published."
    done = subprocess.run([*map(str, command), 'exec', '-i', made, 'python', '-c', code, *more], capture_output=True, **kw)
    return done.stdout.decode() if not done.returncode else ''


GET = "import sys, urllib.request as u; print(u.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=5).read().decode())"
POST = """import sys, urllib.request as u
ask = u.Request('http://127.0.0.1:8000/predict', sys.stdin.buffer.read(), {'Content-Type': 'image/jpeg'})
print(u.urlopen(ask, timeout=30).read().decode())"""


def photo():
    "A picture of the study that ships with the package."
    with zipfile.ZipFile(ROOT/'anklealign'/'demo_study.zip') as z: return z.read(next(o for o in z.namelist() if o.endswith('.jpg')))


def use_serve(command, options, image, folder, health):
    "The service answers for a photo without a network, a writable root or a known user; with a mounted bundle in its stead; and refuses a damaged one."
    bundle, broken = folder/'model', folder/'broken'
    with zipfile.ZipFile(ROOT/'anklealign'/'demo_bundle.zip') as z: z.extractall(bundle)
    shutil.copytree(bundle, broken)
    (broken/'model.onnx').write_bytes(b'?')
    mounts = {'demonstration': [], 'folder': ['-v', f'{bundle}:/bundle:ro'], 'archive': ['-v', f'{ROOT/"anklealign"/"demo_bundle.zip"}:/bundle:ro']}
    for kind, mount in mounts.items():
        with running(command, *STRICT, *options, *mount, image) as made:
            start = time.monotonic()
            until(lambda made=made: inside(command, made, GET, '8000/ready'))
            print(f'  {kind}: ready after {time.monotonic() - start:.1f} s; health {inside(command, made, GET, "8000/health")}'.rstrip())
            said = json.loads(inside(command, made, POST, input=photo()))
            print('  ', {k: said[k] for k in ('answer', 'probabilities', 'model') if k in said})
            run(*command, 'exec', made, *health)
            assert '<html' in inside(command, made, GET, '8000/')
    refused = subprocess.run([*map(str, command), 'run', '--rm', *options, '-v', f'{broken}:/bundle:ro', image], capture_output=True, text=True)
    assert refused.returncode == 1 and 'model.onnx' in refused.stderr, refused


def use_full(command, options, image, folder, health):
    "The default command takes a raw study through every step under any user id, and says so on standard output; JupyterLab asks for its token."
    raw, out = folder/'raw', folder/'output'
    with zipfile.ZipFile(ROOT/'anklealign'/'demo_study.zip') as z: z.extractall(raw)
    out.mkdir()
    out.chmod(0o777)
    mounts = ['-v', f'{raw}:/data:ro', '-v', f'{out}:/app/output']
    short = ['-e', 'ANKLEALIGN_TRAIN_EPOCHS=1', '-e', 'ANKLEALIGN_EVALUATE_ROUNDS=200', '-e', 'ANKLEALIGN_EVALUATE_ROBUSTNESS=1']
    said = run(*command, 'run', '--rm', '--user', '12345:12345', *options, *mounts, *short, image)
    made = sorted(str(o.relative_to(out)) for o in out.rglob('*') if o.is_file() and 'images' not in o.parts)
    print(f'  {len(said.splitlines())} lines of log; {len(made)} files, such as {made[:3]}')
    assert 'Everything lies in' in said and {'processed/metadata.csv', 'evaluation/baseline/report.html', 'log/run.log'} <= set(made), said
    with running(command, '-e', 'JUPYTER_TOKEN=secret', *options, image, 'jupyter', 'lab') as made:
        until(lambda: inside(command, made, GET, '8888/api'))
        assert '05_deploy.ipynb' in inside(command, made, GET, '8888/api/contents/nbs?token=secret')
        assert not inside(command, made, GET, '8888/api/contents/nbs')
    chapter = ['jupyter', 'nbconvert', '--to', 'notebook', '--execute', '--output-dir', '/tmp', 'nbs/00_data.ipynb']
    run(*command, 'run', '--rm', *options, image, *chapter)


def test(target, command, building, options, base, folder):
    image, start = f'localhost/anklealign:{target}-test', time.monotonic()
    building = [*building, *pip_options(folder, command[0] == 'docker'), *(['--build-arg', f'BASE={base}'] if base else [])]
    if target == 'full' and base: building += ['--build-arg', 'TORCH_INDEX='] # where there is no Docker there is hardly PyTorch's own index either
    run(*command, 'build', *building, '--target', target, '-t', image, ROOT)
    print(f'{target}: built in {time.monotonic() - start:.0f} s')
    health = check_contents(command, options, image, target)
    files, archive = size(command, image, folder)
    print(f'  {files:.0f} MB of files, {archive:.0f} MB as an archive')
    assert files < LIMIT.get(target, float('inf')), f'more than {LIMIT[target]} MB'
    {'serve': use_serve, 'full': use_full}[target](command, options, image, folder, health)
    print(f'{target}: all is as it should be')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(dir='/var/tmp') as name:
        folder = Path(name)
        command, building, options, base = engine(folder)
        if base: make_base(command, folder, base)
        try:
            for target in sys.argv[1:] or ['serve']: test(target, command, building, options, base, folder)
        finally:
            if base: run(*command, 'system', 'reset', '--force')
            else: run('docker', 'image', 'rm', '--force', *[f'localhost/anklealign:{o}-test' for o in sys.argv[1:] or ['serve']])
