"""The whole loop on a real Label Studio server: `make labelstudio-test`, or python tests/labelstudio.py [--label-studio PROGRAM] [--screenshot FILE].

Starts a server of its own (SQLite, in a folder that is gone afterwards), makes a project of phantoms with `anklealign label-studio init`, gets
pre-annotations, annotates over the API as three people, presses the button, and sees the new version answer; then the queue, the agreement, the second
look and `prepare` from the server. Without --label-studio, Label Studio is installed from PyPI into .labelstudio beside this folder (minutes, once)."""
import argparse
import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import multimode

from anklealign.loop.server import LabelStudio

ROOT, TOKEN, KEY = Path(__file__).parents[1], '0123456789abcdef'*2 + '01234567', 'hush-hush'
ANKLE = [sys.executable, '-c', 'from anklealign.app.cli import app; app()']


def free():
    with socket.create_server(('127.0.0.1', 0)) as o: return o.getsockname()[1]


def wait(what, ready, seconds):
    "What `ready` gives as soon as it is something; an assertion fails after `seconds`."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := ready(): return found
        except Exception as e: reason = e
        else: reason = 'not yet'
        time.sleep(1)
    raise AssertionError(f'{what}: {reason} after {seconds} s')


@contextmanager
def process(command, log, **env):
    "A process that is ended at the end."
    with open(log, 'w') as file: started = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | env, cwd=log.parent, start_new_session=True)
    try: yield started
    except BaseException:
        print(log.read_text()[-3000:])
        raise
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try: started.wait(20)
        except subprocess.TimeoutExpired: os.killpg(started.pid, signal.SIGKILL)


def installed():
    "Label Studio in a virtual environment of its own."
    place = ROOT/'.labelstudio'
    if not (place/'bin/label-studio').exists():
        subprocess.run([sys.executable, '-m', 'venv', place], check=True)
        subprocess.run([place/'bin/pip', 'install', '--quiet', 'label-studio>=1.23,<2'], check=True)
    return place/'bin/label-studio'


def label_studio(program, home, port, files):
    return process([program, 'start', '--no-browser', '--internal-host', '127.0.0.1', '--port', str(port), '--username', 'a@example.org', '--password',
                    'secretsecret', '--user-token', TOKEN, '--enable-legacy-api-token'], home/'label-studio.log', COLLECT_ANALYTICS='0',
                   LATEST_VERSION_CHECK='0', SENTRY_DSN='', FRONTEND_SENTRY_DSN='', USE_DEFAULT_BANNED_SUBNETS='false',
                   LABEL_STUDIO_BASE_DATA_DIR=str(home/'data'), LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED='true',
                   LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(files))


def seen_as(angle): return 'Pronation' if angle > 6 else 'Supination' if angle < 0 else 'Neutral'


def choice(said): return [{'from_name': 'label', 'to_name': 'image', 'type': 'choices', 'value': {'choices': [said]}}]


def annotate(server, project, angles):
    "Three people say what they see; some skip, all err a little, and all call every tenth picture the opposite, as if the feet had been mixed up."
    people = [1] + [server.ask('/api/users/', {'email': f'{o}@example.org', 'username': o, 'first_name': o})['id'] for o in 'bc']
    rng, n, mixed_up = random.Random(1), 0, sorted(angles)[::10]
    for task in server.ask('/api/tasks/', project=project, page_size=500, fields='all')['tasks']:
        for who in people:
            if task['data']['source'] not in angles or rng.random() < .4: continue
            said = seen_as(angles[task['data']['source']] + rng.gauss(0, 1))
            if task['data']['source'] in mixed_up: said = {'Pronation': 'Supination', 'Supination': 'Pronation'}.get(said, said)
            server.ask(f"/api/tasks/{task['id']}/annotations/", {'result': choice(said), 'completed_by': who})
            n += 1
    return n


def looked_again(server, project, angles):
    "Everybody looks at the pictures of the tab 'Look again' once more, with care: how many labels that changes, of how many."
    [view] = [o for o in server.ask('/api/dm/views/', project=project) if o['data']['title'] == 'Look again']
    tasks, changed = server.ask('/api/tasks/', project=project, view=view['id'], page_size=500, fields='all')['tasks'], 0
    for task in tasks:
        assert task['data']['again_why'], task
        now, votes = seen_as(angles[task['data']['source']]), [o['result'][0]['value']['choices'][0] for o in task['annotations']]
        for o in task['annotations']: server.ask(f"/api/annotations/{o['id']}/", {'result': choice(now)}, 'PATCH')
        changed += multimode(votes) != [now]
    return changed, len(tasks)


def screenshot(address, project, task, file):
    "The server's own page with a pre-annotation, logged in as a person."
    import shutil

    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'))
        page = browser.new_page(viewport={'width': 1280, 'height': 800})
        page.goto(f'{address}/user/login/')
        page.fill('input[name=email]', 'a@example.org')
        page.fill('input[name=password]', 'secretsecret')
        page.click('button[type=submit]')
        page.goto(f'{address}/projects/{project}/data?task={task}')
        page.wait_for_timeout(15_000)
        page.screenshot(path=file)
        browser.close()


def main(program, shot, n):
    ls, ours = (f'http://127.0.0.1:{o}' for o in (free(), free()))
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home/'data').mkdir()
        env = dict(ANKLEALIGN_LABELSTUDIO_ADDRESS=ls, ANKLEALIGN_LABELSTUDIO_TOKEN=TOKEN, ANKLEALIGN_SERVE_API_KEY=KEY, ANKLEALIGN_EVALUATE_ROUNDS='200',
                   ANKLEALIGN_EVALUATE_ROBUSTNESS='1', ANKLEALIGN_IMAGES_WORKERS='1')
        def ankle(*command):
            done = subprocess.run([*ANKLE, *map(str, command)], cwd=home, env=os.environ | env, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout
        ankle('phantom', '--n', n, '--layout', 'owners', home/'files/phantoms')
        with open(home/'files/phantoms/phantom.csv') as f: angles = {o['file']: float(o['angle_deg']) for o in csv.DictReader(f) if o['angle_deg']}
        with (label_studio(program, home, ls.rpartition(':')[2], home/'files'),
              process([*ANKLE, 'serve', '--port', ours.rpartition(':')[2], '--no-page'], home/'serve.log', **env)):
            server, service = LabelStudio(ls, TOKEN, 60), LabelStudio(ours, KEY, 120)
            wait('Label Studio', lambda: server.ask('/api/version'), 300)
            service._authorisation = lambda: f'Bearer {KEY}'
            wait('the service', lambda: service.ask('/label-studio/health'), 60)
            project = int(ankle('label-studio', 'init', 'files/phantoms', '--create', '--backend', f'{ours}/label-studio').split('/projects/')[1].split()[0])
            [backend] = server.ask('/api/ml/', project=project)
            assert (backend['readable_state'], backend['model_version']) == ('Connected', 'measured'), backend
            print('connected')
            tasks = [o['id'] for o in server.ask('/api/tasks/', project=project, page_size=500)['tasks']]
            def predicted(some):
                server.ask('/api/dm/actions/', {'selectedItems': {'all': False, 'included': some}}, seconds=120, id='retrieve_tasks_predictions', project=project)
                return server.ask('/api/predictions/', project=project)
            first = predicted(tasks[:10])
            assert {o['model_version'] for o in first} == {'measured'} and any(o['result'] for o in first), first
            print(f'{len(first)} pre-annotations, {sum(bool(o["result"]) for o in first)} of them with a class')
            if shot: screenshot(ls, project, next(o['task'] for o in first if o['result']), shot)
            print(annotate(server, project, angles), 'annotations')
            server.ask(f"/api/ml/{backend['id']}/train", {})
            def done():
                [o] = service.ask('/label-studio/status', project=project)
                return o if o['training']['state'] != 'running' else None
            said = wait('the training', done, 1800)
            assert said['training']['state'] == 'done', said
            print(said['training']['step'])
            version = said['answers']
            assert (version != 'measured') == said['training']['accepted']
            assert version in {o['model_version'] for o in predicted(tasks[:2])}
            ankle('label-studio', 'queue', project, '--n', 10)
            ranked = [o for o in server.ask('/api/tasks/', project=project, page_size=500, fields='all')['tasks'] if 'next_rank' in o['data']]
            queue = service.ask('/label-studio/queue', project=project)
            assert sorted(o['data']['next_rank'] for o in ranked) == list(range(1, len(queue) + 1)), queue
            found = service.ask('/label-studio/agreement', project=project)
            assert found['annotators'] == 3 and found['fleiss_kappa']['value'] > .2, found
            print(f"queue of {len(queue)}; kappa {found['fleiss_kappa']['value']:.2f} ({found['images_with_several']} pictures)")
            print(ankle('label-studio', 'again', project))
            changed, sent = looked_again(server, project, angles)
            said = ankle('label-studio', 'again', project)
            print(said)
            assert sent and said.startswith(f'{changed} of {sent} labels have changed'), (changed, sent, said)
            print(ankle('prepare', f'{ls}/projects/{project}', '--output', 'own').splitlines()[-4:])
            report = json.loads((home/'own/processed/report.json').read_text())
            assert report['images']['found'] == sum(report['images'][o] for o in ('used', 'merged', 'dropped'))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--label-studio', type=Path, dest='program')
    parser.add_argument('--screenshot', dest='shot')
    parser.add_argument('--n', type=int, default=360)
    given = vars(parser.parse_args())
    main(given['program'] or installed(), given['shot'], given['n'])
    print('The loop holds.')
