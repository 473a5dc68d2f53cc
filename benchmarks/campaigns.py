"""Thousands of damaged studies, archives and bundles, and a hundred runs killed at random: what `tests/test_mutants.py` tries a few hundred of.

python benchmarks/campaigns.py studies archives bundles kills [--out campaigns]   goes on where it was stopped; `--show` prints what is known

10,000 folders of odd photos, exports and things that are no files, ten to a study of nine people that must come through; 2,000 archives of a
study; 2,000 bundles, each opened and asked in a process of its own; 100 kills, each before some operation on a file or after some time, followed
by a run to the end: what is there must be the old whole, the new whole, and in the end the same as if nothing had been killed.
`anklealign/results/campaigns.txt` keeps what is printed.
"""
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from common import options
from conftest import content, picture
from mutants import TINY, archive, bundle, control, damage_study, fresh, mutant, wrong_with_archive, wrong_with_bundle, wrong_with_study

from anklealign.data import prepare
from anklealign.storage import recover

EACH = 10 # mutants in a study
LIMITS = {'studies': 10_000//EACH, 'archives': 2_000, 'bundles': 2_000, 'kills': 100}


def studies(place, i):
    "Ten mutants beside nine people who must come through; then the same again over a damaged study."
    raw = control(fresh(place)/'raw')
    for k in range(EACH): mutant(raw, EACH*i + k, f'H51B{k:02}')
    if wrong := wrong_with_study(raw, place/'o'): return wrong
    damage_study(place/'o/processed', i)
    return (wrong := wrong_with_study(raw, place/'o')) and f'over a damaged study: {wrong}'


def archives(place, i):
    "One odd archive, over a study that is there."
    if not (place/'there').exists(): prepare(control(fresh(place)/'raw'), place/'there/o', TINY)
    archive(place/'raw', place/'a.zip', i)
    return wrong_with_archive(place/'a.zip', place/'there/o')


def bundles(place, i): return wrong_with_bundle(bundle(fresh(place)/'b', i))


EVENTS = ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link')
SMALL = {'ANKLEALIGN_TRAIN_SIZE': '32', 'ANKLEALIGN_IMAGES_SIZE': '32', 'ANKLEALIGN_IMAGES_WORKERS': '1', 'ANKLEALIGN_TRAIN_PRECISION': 'float32',
         'ANKLEALIGN_TRAIN_RECIPE': 'baseline', 'ANKLEALIGN_EVALUATE_ROBUSTNESS': '1', 'ANKLEALIGN_DISPLAY_LANGUAGE': 'en'}


def forked(home, command, stop=0, seconds=None):
    "Run the command in a fork; end it before the `stop`-th operation on a file below `home`, or after `seconds`. Its exit code and operations."
    counted = home/'.counted'
    if not (child := os.fork()):
        try:
            os.chdir(home)
            os.environ.update(SMALL)
            quiet = os.open(home.parent/'said', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for o in (1, 2): os.dup2(quiet, o)
            seen = [0]
            def count(event, args):
                if event in EVENTS and str(args[0]).startswith(('output', str(home))) and os.getpid() != parent:
                    seen[0] += 1
                    if seen[0] == stop: os._exit(9)
            parent = os.getppid()
            sys.addaudithook(count)
            from anklealign.app.cli import app
            try: app([str(o) for o in command], prog_name='anklealign')
            except SystemExit as e: code = e.code or 0
            seen[0], total = -10**9, seen[0]
            counted.write_text(str(total))
            os._exit(code)
        finally: os._exit(70)
    until = time.monotonic() + (seconds or 600)
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until: time.sleep(.01)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended[1])
    total = int(counted.read_text()) if code == 0 and counted.exists() else 0
    counted.unlink(missing_ok=True)
    return code, total


def whole(place, name, *commands):
    "The folder that commands leave when nobody kills them, and the operations and seconds of the last one; made once."
    home = place/'whole'/name
    if not (home/'done').exists():
        fresh(home)
        shutil.copytree(place/'raw', home/'raw')
        for o in commands:
            start = time.monotonic()
            code, total = forked(home, o)
            if code: raise SystemExit(f'{" ".join(o)}: exit code {code}; {(home.parent/"said").read_text()[-2000:]}')
        (home/'done').write_text(json.dumps([total, time.monotonic() - start]))
    return home, *json.loads((home/'done').read_text())


def kill(place, rng, first, commands, part):
    "Kill one of `commands` at random over the state that `first` leaves, then let one of them end: what is wrong; empty if nothing is."
    wholes = {k: whole(place, f'{k} of {Path(part).parts[1]}', *o) for k, o in ({'first': first} | commands).items()}
    names, home = list(commands), fresh(place/'home')
    shutil.copytree(wholes[rng.choice(['first', *names])][0], home, dirs_exist_ok=True)
    for name in rng.choices(names, k=rng.randint(1, 2)):
        before, (_, total, seconds) = content(recover(home/part)), wholes[name]
        at = dict(stop=rng.randint(1, max(total, 1))) if rng.random() < .7 else dict(seconds=rng.random()*seconds)
        code, _ = forked(home, commands[name][-1], **at)
        if code not in (0, 9, -9): return f'{name} {at}: exit code {code}'
        new = content(wholes[name][0]/part)
        now = {k: v for k, v in content(recover(home/part)).items() if '.tmp-' not in k} # hidden until the next run, which takes it away
        begun = commands[name][-1][0] == 'train' and now.items() <= new.items() # the new run, to which `--resume` adds the bundle
        if now not in (before, new) and not begun: return f'{name} {at}: neither the old nor the new: {sorted(now)}, differing in {[k for k in now if now[k] != new.get(k)]}'
    last = rng.choice(names)
    again = commands[last][-1]
    code = forked(home, [*again, '--resume'])[0] if again[0] == 'train' and name == last else 1 # refused if what is there is another run
    if code: code, _ = forked(home, again)
    wanted = content(wholes[last][0]/part)
    if code: return f'{again} after {name}: exit code {code}'
    if (now := content(home/part)) != wanted: return f'{again}: differs in {[k for k in now | wanted if now.get(k) != wanted.get(k)][:5]}'
    left = sorted(o.name for o in (home/part).parent.iterdir() if o.name.startswith('.'))
    return f'left: {left}' if left else ''


def kills(place, i):
    "One trial: four of ten are of `prepare`, three of `train`, two of `evaluate`, one of `serve`."
    rng = random.Random(i)
    if not (place/'raw').exists(): control(place/'raw')
    said = place/'whole/said'
    if said.exists() and said.stat().st_size > 10**7: said.unlink()
    ready, two = ['prepare', 'raw'], {'a': ['--seed', '1'], 'b': ['--seed', '2']}
    if i % 10 < 4:
        sizes = {f'prepare {k}': [['prepare', 'raw', *o]] for k, o in two.items()}
        return kill(place, rng, [['prepare', 'raw', '--seed', '3']], sizes, 'output/processed')
    trained = {k: ['train', '--run', 'one', '--epochs', '2', *o] for k, o in two.items()}
    if i % 10 < 7: return kill(place, rng, [ready], {f'train {k}': [ready, o] for k, o in trained.items()}, 'output/models/one')
    if i % 10 < 9:
        return kill(place, rng, [ready, trained['a']], {f'evaluate {k}': [ready, trained['a'], ['evaluate', '--run', 'one', *o]] for k, o in two.items()}, 'output/evaluation/one')
    return serve(fresh(place/'home'), rng)


def serve(home, rng):
    "Kill the service while it answers: no file is left, and the next one answers the same."
    import httpx
    from test_serve import serving, without_time
    found = []
    for kill in (True, False):
        with serving(home/f'{kill}', ANKLEALIGN_SERVE_PAGE='no') as service:
            found.append(without_time(service.photo(picture(1, (400, 500))).json()))
            if kill:
                from threading import Timer
                Timer(.5*rng.random(), service.process.kill).start()
                try:
                    while True: service.photo(picture(1, (400, 500)))
                except httpx.HTTPError: service.process.wait()
            if left := [k for o in ('cwd', 'tmp', 'home') for k in content(service.home/o)]: return f'left: {left}'
    return '' if found[0] == found[1] else 'another answer'


def main(names, out):
    warnings.simplefilter('ignore') # of names that an archive holds twice
    for name in names:
        file, place = out/f'{name}.jsonl', Path('/dev/shm' if Path('/dev/shm').is_dir() else tempfile.gettempdir())/f'campaign_{name}_{os.getuid()}'
        place.mkdir(exist_ok=True)
        done = {json.loads(o)['i'] for o in file.read_text().splitlines()} if file.exists() else set()
        for i in (o for o in range(LIMITS[name]) if o not in done):
            start = time.perf_counter()
            wrong = globals()[name](place, i)
            with file.open('a') as f: f.write(json.dumps({'i': i, 'wrong': wrong, 'seconds': round(time.perf_counter() - start, 2), 'date': str(date.today())}) + '\n')
        shutil.rmtree(place, ignore_errors=True)


def show(out):
    for name, limit in LIMITS.items():
        rows = [json.loads(o) for o in (out/f'{name}.jsonl').read_text().splitlines()] if (out/f'{name}.jsonl').exists() else []
        times, bad = EACH if name == 'studies' else 1, [o for o in rows if o['wrong']]
        days = ' to '.join(sorted({o['date'] for o in rows})[::max(1, len({o['date'] for o in rows}) - 1)])
        print(f'{name}: {times*len(rows):,} of {times*limit:,} tried (seeds 0 to {max((o["i"] for o in rows), default=0)}, {days or "never"}), {len(bad)} wrong')
        for o in bad[:20]: print(f'  seed {o["i"]}: {o["wrong"][:200]}')


if __name__ == '__main__':
    given = options(__doc__, ('campaigns', dict(nargs='*', choices=[[], *LIMITS])), out=Path('campaigns'), show=False)
    given.out.mkdir(exist_ok=True)
    if not given.show: main(given.campaigns or list(LIMITS), given.out.resolve())
    show(given.out)
