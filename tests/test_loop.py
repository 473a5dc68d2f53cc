"""The backend of Label Studio in the service, behind its key, as a Label Studio 1.23 server talks to it. The whole loop: tests/labelstudio.py."""
import json

import pytest
from conftest import picture, saved, task
from PIL import Image
from starlette.testclient import TestClient

from anklealign.app.http import make_app
from anklealign.core import AnklealignError, Settings
from anklealign.deploy import Predictor
from anklealign.loop.backend import Loop, add_label_studio
from anklealign.loop.job import pull
from anklealign.loop.server import LABEL_CONFIG, LabelStudio
from anklealign.study.manifest import read_manifest

KEY = 'hush-hush'


class Server(LabelStudio):
    "A Label Studio server in memory."
    def __init__(self, tasks=()): super().__init__('http://127.0.0.1:8080', 'token-of-somebody')
    def fetch(self, url, *args, **kw):
        if 'away' in url: raise AnklealignError(f'{self.address} cannot be reached (refused): is Label Studio running there?')
        if 'gone' in url: raise AnklealignError(f'{self.address} has no {url[21:]}.')
        if url.endswith('/api/projects/3/'): return json.dumps({'label_config': LABEL_CONFIG}).encode()
        if 'export' in url: return json.dumps(self.tasks).encode()
        return saved(Image.new('RGB', (80, 120), 'grey'))


@pytest.fixture(scope='module')
def predictor(): return Predictor()


@pytest.fixture
def client(tmp_path, predictor):
    settings = Settings(output=str(tmp_path), serve={'page': False, 'api_key': KEY}, labelstudio={'address': 'http://127.0.0.1:8080'})
    loop = Loop(predictor, settings)
    loop.server = Server()
    with TestClient(make_app(predictor, settings.serve, lambda app, answer: add_label_studio(app, loop, answer))) as client:
        client.loop, client.auth = loop, ('anklealign', KEY)
        yield client


def asked(*refs, **more):
    return {'project': '3.1764280000', 'label_config': LABEL_CONFIG, 'params': {'login': None, 'password': None, 'context': None},
            'tasks': [{'id': i, 'data': {'image': o}} for i, o in enumerate(refs, 1)]} | more


@pytest.mark.parametrize('method, path', [('GET', 'health'), ('POST', 'setup'), ('POST', 'predict'), ('POST', 'webhook'), ('GET', 'status'),
                                          ('GET', 'queue?project=3'), ('GET', 'agreement?project=3')])
def test_nobody_gets_in_without_the_key(client, method, path):
    for auth in (None, ('anklealign', 'wrong')):
        client.auth = auth
        assert client.request(method, f'/label-studio/{path}', json=asked()).status_code == 401


def test_each_task_has_a_prediction_or_a_reason(client):
    hostile = ['file:///etc/passwd', 'http://169.254.169.254/latest', 'http://localhost:8080/api/projects/3/', '//10.0.0.1/a.jpg', 'gopher://a', {}, None, '']
    said = client.post('/label-studio/predict', json=asked('/data/upload/3/a.jpg', '/data/upload/3/gone.jpg', *hostile)).json()['results']
    assert len(said) == 10 and all(o['result'] == [] and o['meta']['reason'] for o in said) # a grey picture shows no heels
    assert [o['model_version'] for o in said] == ['measured']*10
    assert 'has no' in said[1]['meta']['reason'] and 'never opened' in said[2]['meta']['reason']


def test_ten_thousand_tasks_are_answered_in_time(client, monkeypatch):
    monkeypatch.setattr('anklealign.loop.backend._SECONDS', 0.)
    assert client.post('/label-studio/predict', json=asked(*['/data/upload/3/a.jpg']*10_000)).json()['results'] == [[]]*10_000


@pytest.mark.parametrize('wrong, told', [({'label_config': '<View/>'}, 'No choice'), ({'tasks': None}, 'no list of tasks'), ({'project': '../3'}, 'which project')])
def test_what_cannot_be_answered_is_one_sentence(client, wrong, told):
    said = client.post('/label-studio/predict', json=asked('/data/upload/3/a.jpg', **wrong))
    assert said.status_code == 400 and told in said.json()['detail']
    assert client.post('/label-studio/predict', content=b'<html>').status_code == 400
    assert client.get('/label-studio/health').json()['status'] == 'UP'


def test_a_server_that_goes_away_leaves_the_folder_usable(client, tmp_path):
    server = Server()
    server.tasks = [{'id': 1, 'data': {'image': '/data/upload/3/a.jpg'}, 'annotations': []}]
    root, refused, _ = pull(server, 3, client.loop.settings)
    server.tasks += [{'id': i, 'data': {'image': f'/data/upload/3/away{i}.jpg'}, 'annotations': []} for i in range(2, 30)]
    with pytest.raises(AnklealignError, match='has gone away'): pull(server, 3, client.loop.settings)
    assert (root/'pictures/a.jpg').is_file() and refused == [] and len(json.loads((root/'project-3.json').read_text())) == 1


def test_a_project_is_prepared_from_its_server(tmp_path, monkeypatch):
    "By the command that users have, and the button too: with what could not be fetched, and again with the splits of before."
    from anklealign.app.cli import _prepare
    from anklealign.loop import job
    names = [f'participant{p:02}_{j}.jpg' for p in range(1, 10) for j in (1, 2)]
    class Pictures(Server):
        def fetch(self, url, *args, **kw): return picture(list(url.encode())) if url.endswith('.jpg') and 'gone' not in url else super().fetch(url, *args, **kw)
    server = Pictures()
    server.tasks = [task(i, o, ('Pronation', 'Neutral', 'Supination')[i % 3]) for i, o in enumerate([*names, 'gone.jpg'], 1)]
    monkeypatch.setattr(job, 'project_of', lambda *_: (server, 3))
    settings, splits = Settings(output=str(tmp_path), images={'size': 64, 'workers': 1}), []
    for seed in (1, 2):
        _prepare('http://127.0.0.1:8080/projects/3', settings.model_copy(update={'seed': seed}))
        splits.append(read_manifest(tmp_path/'processed').set_index('source').split.to_dict())
        report = json.loads((tmp_path/'processed/report.json').read_text())
        assert report['images'] == {'found': 19, 'used': 18, 'merged': 0, 'dropped': 1}
        assert [o['reason'][:20] for o in report['items'] if o['kind'] == 'image' and o['reason']] == ['could not be fetched']
    assert splits[0] == splits[1] and len(splits[0]) == 18
