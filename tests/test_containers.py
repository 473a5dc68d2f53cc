"""What the container files promise each other and the package. That the images build and answer is checked by tests/image.py."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from anklealign import __version__
from anklealign.core import ServeSettings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT/'Dockerfile').read_text(encoding='utf-8')
COMPOSE = yaml.safe_load((ROOT/'compose.yaml').read_text(encoding='utf-8'))


@pytest.fixture
def constraints(monkeypatch):
    "The module that makes constraints.txt."
    monkeypatch.syspath_prepend(ROOT/'tests')
    import constraints
    return constraints


def test_constraints_pin_every_package_that_the_images_ask_for(constraints):
    lines = [Requirement(o) for o in (ROOT/'constraints.txt').read_text(encoding='utf-8').splitlines() if not o.startswith('#')]
    pins = {canonicalize_name(o.name): next(iter(o.specifier)) for o in lines}
    assert len(pins) == len(lines) and {o.operator for o in pins.values()} == {'=='}
    unmet = [str(o) for o in constraints.wanted() if (pin := pins.get(canonicalize_name(o.name))) is None or not o.specifier.contains(pin.version)]
    assert not unmet, f'{unmet}: run python tests/constraints.py > constraints.txt'


def test_constraints_follow_requirements_and_leave_the_gpu_out(constraints, monkeypatch):
    monkeypatch.setattr(constraints, 'fitting', constraints.version)
    found = constraints.pinned([Requirement('typer'), Requirement('torch')])
    assert {'typer', 'rich', 'pygments', 'torch', 'sympy', 'mpmath'} <= set(found)
    assert not [o for o in found if o.startswith(constraints.GPU)]


def test_a_version_that_the_images_python_is_too_old_for_is_not_pinned(constraints, monkeypatch):
    monkeypatch.setattr(constraints, 'metadata', lambda name: {'Requires-Python': '>=3.11.5'})
    with pytest.raises(SystemExit, match='typer .* wants Python >=3.11.5, the images have 3.11.2'): constraints.fitting('typer')


def test_compose_builds_targets_that_exist_and_opens_ports_to_this_computer_only():
    targets = set(re.findall(r'^FROM \S+ AS (\S+)$', DOCKERFILE, re.M))
    services = COMPOSE['services']
    assert set(services) == {'pipeline', 'lab', 'serve', 'replica', 'proxy', 'label-studio', 'loop'}
    foreign = [services.pop(o) for o in ('label-studio', 'proxy')] # images of others
    assert [o['ports'] for o in foreign] == [['127.0.0.1:8080:8080'], services['serve']['ports']] and not any('build' in o for o in foreign)
    assert {o['build']['target'] for o in services.values()} == {'full', 'serve'} <= targets
    ports = [p for o in services.values() for p in o.get('ports', [])]
    assert len(ports) == 3 and all(o.startswith('127.0.0.1:') for o in ports)
    assert all(f'EXPOSE {o.rpartition(":")[2]}' in DOCKERFILE for o in ports)


def keys(required='', **own): # an object of Kubernetes with these keys, and no others
    return {'type': 'object', 'additionalProperties': False, 'required': required.split(), 'properties': own}


def many(of): return {'type': 'array', 'items': of, 'minItems': 1}


WORD, NUMBER, YES, WORDS, EITHER = {'type': 'string'}, {'type': 'integer'}, {'type': 'boolean'}, {'type': 'object', 'additionalProperties': {'type': 'string'}}, {'type': ['string', 'integer']}
META = keys(name=WORD, labels=WORDS, annotations=WORDS)
PROBE = keys('httpGet', httpGet=keys('path port', path=WORD, port=EITHER), periodSeconds=NUMBER, failureThreshold=NUMBER)
SECRET = keys('key', name=WORD, key=WORD, optional=YES)
CONTAINER = keys('name image', name=WORD, image=WORD, ports=many(keys('containerPort', name=WORD, containerPort=NUMBER)),
                 env=many(keys('name', name=WORD, value=WORD, valueFrom=keys(secretKeyRef=SECRET))), readinessProbe=PROBE, livenessProbe=PROBE,
                 startupProbe=PROBE, resources=keys(requests=WORDS, limits=WORDS), volumeMounts=many(keys('name mountPath', name=WORD, mountPath=WORD)),
                 securityContext=keys(allowPrivilegeEscalation=YES, readOnlyRootFilesystem=YES, capabilities=keys(drop=many(WORD))))
POD = keys('containers', containers=many(CONTAINER), automountServiceAccountToken=YES, terminationGracePeriodSeconds=NUMBER,
           securityContext=keys(runAsNonRoot=YES, runAsUser=NUMBER, seccompProfile=keys('type', type=WORD)),
           volumes=many(keys('name', name=WORD, emptyDir=keys(medium=WORD, sizeLimit=WORD))))
SELECTOR, ROLLING = keys(matchLabels=WORDS), keys(maxUnavailable=EITHER, maxSurge=EITHER)
KINDS = { # an own small copy of the schema of Kubernetes 1.32, of the keys that are used here
    ('apps/v1', 'Deployment'): keys('selector template', replicas=NUMBER, selector=SELECTOR, strategy=keys(type=WORD, rollingUpdate=ROLLING),
                                    template=keys(metadata=META, spec=POD)),
    ('v1', 'Service'): keys(selector=WORDS, sessionAffinity={'enum': ['ClientIP', 'None']}, ports=many(keys('port', name=WORD, port=NUMBER, targetPort=EITHER))),
    ('policy/v1', 'PodDisruptionBudget'): keys(minAvailable=EITHER, selector=SELECTOR)}


def test_the_kubernetes_example_fits_its_schema_and_the_service():
    objects = {o['kind']: o for o in yaml.safe_load_all((ROOT/'kubernetes.yaml').read_text(encoding='utf-8'))}
    for o in objects.values():
        schema = keys('apiVersion kind metadata spec', apiVersion=WORD, kind=WORD, metadata=META, spec=KINDS[o['apiVersion'], o['kind']])
        Draft202012Validator(schema).validate(o)
        with pytest.raises(ValidationError): Draft202012Validator(schema).validate(o | {'spec': o['spec'] | {'replica': 2}})
    pod = objects['Deployment']['spec']['template']
    [serve] = pod['spec']['containers']
    for o in ('Service', 'PodDisruptionBudget', 'Deployment'):
        chosen = objects[o]['spec']['selector']
        assert chosen.get('matchLabels', chosen).items() <= pod['metadata']['labels'].items()
    env = {o['name']: o.get('value') for o in serve['env']}
    known = {f'ANKLEALIGN_SERVE_{o.upper()}' for o in ServeSettings.model_fields}
    assert env.keys() <= known and pod['spec']['terminationGracePeriodSeconds'] > float(env['ANKLEALIGN_SERVE_DRAIN']) + 4
    assert float(env['ANKLEALIGN_SERVE_DRAIN']) > serve['readinessProbe']['periodSeconds']*serve['readinessProbe']['failureThreshold']
    assert serve['image'] == COMPOSE['services']['serve']['image'] and f'EXPOSE {serve["ports"][0]["containerPort"]}' in DOCKERFILE
    mounted = [o['name'] for o in serve['volumeMounts']]
    assert mounted == [o['name'] for o in pod['spec']['volumes']]


def test_what_is_copied_is_let_in_and_nothing_else():
    copied = {o for line in re.findall(r'^COPY (?!--from)(.+) \S+$', DOCKERFILE, re.M) for o in line.split()}
    let_in = {o[1:] for o in (ROOT/'.dockerignore').read_text(encoding='utf-8').split() if o.startswith('!')}
    assert copied == let_in and all((ROOT/o).exists() for o in copied)


def test_the_label_says_the_version():
    assert set(re.findall(r'^ARG VERSION=(.+)$', DOCKERFILE, re.M)) == {__version__}


def test_notebooks_lose_only_their_export_cell(tmp_path):
    whole = (ROOT/'nbs'/'05_deploy.ipynb').read_text(encoding='utf-8')
    (tmp_path/'05_deploy.ipynb').write_text(whole, encoding='utf-8')
    subprocess.run([sys.executable, ROOT/'tests'/'without_export.py', tmp_path], check=True)
    before, after = (json.loads(o)['cells'] for o in (whole, (tmp_path/'05_deploy.ipynb').read_text(encoding='utf-8')))
    assert after == before[:-1] and 'nbdev_export()' in ''.join(before[-1]['source'])
