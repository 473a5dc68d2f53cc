"""The page that holds the model, in a real browser without a network; and each step of its arithmetic against Python's."""
import http.server
import io
import json
import math
import zipfile
from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from conftest import saved, web
from PIL import Image, ImageFilter
from test_page import heels, upload, verdict

from anklealign.app import page as built
from anklealign.core import CLASSES, LANGUAGES, AnklealignError, translations
from anklealign.decision import DecisionRule
from anklealign.deploy import Predictor, answer_subject, as_record
from anklealign.heels.feet import COLUMNS, Foot, HeelRule
from anklealign.images import faults, jpeg_bytes, measure, measure_heels, numbers_of, open_picture, square
from anklealign.storage import demo_study


@pytest.fixture(scope='module')
def predictor(): return Predictor()


@pytest.fixture(scope='module')
def steps(browser, predictor):
    "Call a function of graph.js or answer.js in the browser, once for each list of arguments."
    try: code, wasm = built.runtime().values()
    except AnklealignError as e: pytest.skip(f'The page that holds the model needs its runtime. {e}')
    page = browser.new_page()
    page.goto((built._STATIC/'page.html').as_uri()) # browsers have `ImageDecoder` only where a page is secure
    opened = built._worker(code).rsplit('onmessage =', 1)[0].rsplit('\n', 1)[0] + \
        'Object.assign(self, {steps: {square, resized, stored, measured, measuredHeels, findings, answered, together, opened}, opens, ort}); }'
    page.evaluate('async ([code, wasm, graphs, answer]) => { const bytes = text => Uint8Array.from(atob(text), o => o.charCodeAt(0)); (0, eval)(code);'
                  'Object.assign(ort.env.wasm, {numThreads: 1, wasmBinary: bytes(wasm).buffer}); for (const [name, text] of Object.entries(graphs)) await opens(name, bytes(text));'
                  'Object.assign(steps, Function(`${answer}; return {sentences, shownProbability}`)()); }',
                  [opened, b64encode(wasm).decode(), built._about(predictor)['graphs'], built._static('answer.js')])
    page.evaluate('''() => { window.pictured = ([data, width, height]) => ({data: Uint8ClampedArray.from(atob(data), o => o.charCodeAt(0)), width, height});
      window.coded = o => { let text = ''; for (let i = 0; i < o.length; i += 8192) text += String.fromCharCode(...o.subarray(i, i + 8192)); return btoa(text); };
      window.plain = o => o?.canvas ? {...plain(o.image), full: [o.width, o.height]} : o?.data ? {width: o.width, height: o.height, data: coded(o.data)} : o;
      window.whole = o => o?.file ? new Blob([Uint8Array.from(atob(o.file), o => o.charCodeAt(0))]) : o?.picture ? pictured(o.picture) : o?.image ? {...o, image: pictured(o.image.picture)} : o?.tensors ? tensors(o.tensors) : o;
      window.tensors = o => Object.fromEntries(Object.entries(o).map(([k, [values, dims]]) => [k, new ort.Tensor('float32', values.map(v => v ?? NaN), dims)])); }''')
    def call(name, *asked):
        return page.evaluate('async ([name, asked]) => { const said = []; for (const o of asked) said.push(plain(await steps[name](...o.map(whole)))); return said; }', [name, asked])
    yield call
    page.close()


@pytest.fixture(scope='module')
def graph():
    "What a graph of the page says of inputs, a list for each output."
    sessions = {o: onnxruntime.InferenceSession((built._STATIC/f'{o}.onnx').read_bytes()) for o in built._GRAPHS}
    return lambda name, **inputs: sessions[name].run(None, {k: np.asarray(v) for k, v in inputs.items()})


def given(im): return {'picture': [b64encode(im.convert('RGBA').tobytes()).decode(), *im.size]}


def levels(said): return np.frombuffer(b64decode(said['data']), np.uint8).astype(int).reshape(said['height'], said['width'], 4)[..., :3]


def scenes():
    "Pictures of many kinds: noise of every fineness, edges that lean, dark, bright, blank, thin."
    r = np.random.default_rng(1)
    for i, (w, h) in enumerate([(97, 60), (60, 97), (256, 200), (400, 301), (33, 300), (64, 64)]):
        im = Image.fromarray(r.integers(0, 255, (5 + 3*i, 4 + 5*i, 3), dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC).rotate(7*i, fillcolor=(90, 80, 70))
        yield im
        yield im.filter(ImageFilter.GaussianBlur(2)).point(lambda o, i=i: o*(.2 + .3*i))
    yield Image.new('RGB', (90, 80), (255, 254, 255))


def test_pictures_are_resized_as_pillow_does(steps):
    pictures = list(scenes())
    for fit in ('pad', 'crop'):
        for im, said in zip(pictures, steps('square', *([given(o), 96, fit, 128] for o in pictures)), strict=True): assert (levels(said) == square(im, 96, fit)).all()
    for im, said in zip(pictures, steps('resized', *([given(o), 50, 40, 'bicubic'] for o in pictures)), strict=True):
        assert (levels(said) == im.resize((50, 40), Image.Resampling.BICUBIC)).all()


def test_the_model_sees_what_a_study_stores(steps, predictor):
    for im in scenes(): assert (levels(steps('stored', [given(im), built._about(predictor)['steps']])[0]) == Image.open(io.BytesIO(jpeg_bytes(im)))).all()


def test_large_photos_are_decoded_as_in_python(steps, predictor):
    im, about, files = next(scenes()).resize((643, 610), Image.Resampling.BICUBIC), built._about(predictor) | {'size': 150}, []
    for turn, mode, how in [*((o, 'RGB', {}) for o in range(1, 9)), (1, 'L', {}), (6, 'RGB', {'progressive': True}), (1, 'RGB', {'subsampling': 0})]:
        exif = Image.Exif()
        exif[0x0112] = turn
        files.append(saved(im.convert(mode), exif=exif, **how))
    for data, said in zip(files, steps('opened', *([{'file': b64encode(o).decode()}, about] for o in files)), strict=True):
        mine = open_picture(data, 150)
        assert [mine.width, mine.height] == said['full'] and min(mine.image.size) == 153 and (levels(said) == mine.image).all()


def test_graphs_measure_quality_as_python_does(graph):
    for im in scenes():
        for trim in (0, im.width//4):
            said = graph('quality', pixels=np.asarray(im.convert('RGBA')), trim=np.int64(trim))[0]
            np.testing.assert_allclose(said, numbers_of(np.asarray(im, float), trim), rtol=1e-4, atol=2e-3)


def test_quality_is_judged_as_in_python(steps, predictor):
    r, about, pictures, text = np.random.default_rng(4), built._about(predictor), list(scenes()), translations()
    def close(a, b): assert a.keys() == b.keys() and all(a[k] == b[k] or abs(a[k] - b[k]) < {'blur': .01, 'overexposed': .03}.get(k, .5) for k in a), (a, b)
    for a, b in zip(map(measure, pictures), steps('measured', *([given(o), about['quality']] for o in pictures)), strict=True): close(a, b)
    mine, asked, seen = [], [], set()
    for im in pictures:
        width, low, numbers = 3*im.width, r.uniform(-20, 2*im.width, (2, 2)), measure(im)
        feet = [Foot('left', None, None, None, (0., 0.), (0., 0.), (*map(float, o), *map(float, o + r.uniform(5, 150, 2))), vertical_deg=float(r.normal(0, 9))) for o in low]
        mine.append(measure_heels(im, width, feet))
        asked.append([given(im), width, [{'box': list(o.box), 'vertical_deg': o.vertical_deg} for o in feet], about['quality']])
        for side in (100, 900):
            codes = [o['code'] for o in steps('findings', [numbers, {'width': side, 'height': 50}, about, text])[0]]
            assert codes == faults(numbers, side, about['model_size'])
            seen |= {*codes}
    for a, b in zip(mine, steps('measuredHeels', *asked), strict=True): close(a, b)
    assert len(seen) >= 5


def outputs(r):
    "What a graph may say of a picture."
    feet = {o: r.uniform(0, 1, 2) for o in COLUMNS} | {'angle_deg': r.normal(3, 6, 2), 'log_spread': r.uniform(-2, 2, 2), 'yaw_deg': r.normal(0, 20, 2), 'measurable': r.uniform(.4, 1, 2)}
    for i in range(2): feet |= {k: np.array([feet[k][0] if i else v, v if i else feet[k][1]]) for k, v in zip(CLASSES, r.dirichlet([1]*3), strict=True)}
    rows, said = np.stack([feet[o] for o in COLUMNS], 1), np.log(r.dirichlet([.4]*3))
    if r.random() < .05: said = said*np.nan
    if r.random() < .05: rows[0, 3] = np.nan
    sides = np.where(r.random((2, 40, 1, 1)) < .4, np.nan, r.uniform(0, 1, (2, 40, 2, 2)))
    views = r.dirichlet([8 if r.random() < .7 else .5, *[.3]*6])
    return {'log_probabilities': said, 'evidence': np.zeros((3, 2, 2)), 'strangeness': np.array(r.uniform(0, 1.5)), 'feet': rows, 'outlines': sides, 'views': views}


def same(a, b, where=''):
    "Where two values of JSON differ by more than a rounding; empty if nowhere."
    if isinstance(a, dict) and isinstance(b, dict): return next(filter(None, (same(a.get(k), b.get(k), f'{where}.{k}') for k in a | b)), '')
    if isinstance(a, list | tuple) and isinstance(b, list): return f'{where} length' if len(a) != len(b) else next(filter(None, (same(x, y, f'{where}[{i}]') for i, (x, y) in enumerate(zip(a, b, strict=True)))), '')
    if isinstance(a, float) and isinstance(b, int | float): return '' if math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) else f'{where}: {a} and {b}'
    return '' if a == b else f'{where}: {a!r} and {b!r}'


@pytest.mark.parametrize('language', LANGUAGES)
def test_the_rule_answers_as_in_python(steps, predictor, language):
    r, text, asked, expected, said, striped = np.random.default_rng(7), translations(language), [], [], [], next(scenes())
    for i in range(100):
        rule = DecisionRule(temperature=r.uniform(.3, 3), sets=dict(zip(CLASSES, map(float, r.uniform(0, .5, 3)), strict=True)), coverage=.9, images=1, groups=1, reasons=[],
                            abstain_below=None if i % 3 == 0 else r.uniform(.4, .95), target_risk=.1, confidence=.9, sharpening=r.uniform(0, 3),
                            objective=['as_trained', 'accuracy'][i % 2], factors={'accuracy': dict(zip(CLASSES, map(float, np.random.default_rng(i).uniform(.5, 2, 3)), strict=True))})
        heels = HeelRule(found=r.uniform(0, .4), measurable=.5, interval=2., widest_deg=6., turned_deg=25., cutoffs=(-1., 6.))
        made, speaking = outputs(r), predictor.speaking(language)
        speaking.about = predictor.about.model_copy(update={'thresholds': rule, 'heels': heels})
        speaking.rule, speaking.session = rule, SimpleNamespace(run=lambda *_, o=dict(made): [v[None].astype(np.float32) for v in o.values()])
        im = Image.new('RGB', (60 + i, 90), 'white') if i % 9 == 0 else striped.resize((60 + i, 90))
        answer = speaking(im)
        made['mask'] = np.ones(1) # a later graph may say more
        tensors = {k: [[None if np.isnan(x) else float(x) for x in v.astype(np.float32).ravel()], [1, *v.shape]] for k, v in made.items()}
        asked.append([{'tensors': tensors}, {'width': im.width, 'height': im.height, 'image': given(im)}, built._about(speaking) | {'graphs': {}}, text])
        expected.append(as_record(answer))
        said.append(answer.sentences(language))
    found = steps('answered', *asked)
    other = {'name', 'model', 'disclaimer', 'milliseconds'}
    assert [same({k: v for k, v in a.items() if k not in other}, {k: v for k, v in b.items() if k not in other}) for a, b in zip(expected, found, strict=True)] == ['']*len(found)
    assert steps('sentences', *([o, text] for o in found)) == said
    assert len({o['answer'] for o in expected}) == 4 and len({o for a in expected for o in a['reasons']}) > 9


def test_several_photos_are_put_together_as_in_python(steps, predictor):
    r, asked, expected = np.random.default_rng(3), [], []
    answer = predictor(heels())
    for n in r.integers(1, 9, 40):
        several = [replace(answer, probabilities=dict(zip(CLASSES, map(float, r.dirichlet([1]*3)), strict=True)) if r.random() < .8 else {}, ood_score=float(r.uniform(.5, 1.2))) for _ in range(n)]
        several += several[:1]
        numbers = [{'probabilities': o.probabilities, 'ood_score': o.ood_score, 'withholds': any(f.withholds for f in o.quality)} for o in several]
        asked.append([numbers, built._about(predictor)['rule'], translations()])
        expected.append(as_record(answer_subject(several, predictor)))
    keys = 'name', 'answer', 'probabilities', 'possible', 'reasons'
    for a, b in zip(expected, steps('together', *asked), strict=True): assert not same({k: a[k] for k in keys}, {k: b[k] for k in keys})


class Quiet(http.server.SimpleHTTPRequestHandler):
    "A plain web server that says nothing; its folder may hold several pages."
    def log_message(self, *_): pass


@pytest.fixture(scope='module')
def folder(tmp_path_factory, predictor):
    "The page in a folder and as a single file, made once."
    try: built.runtime()
    except AnklealignError as e: pytest.skip(f'The page that holds the model needs its runtime. {e}')
    home = tmp_path_factory.mktemp('offline')
    built.make_offline(home/'clinic'/'heels', predictor)
    built.make_offline(home/'heels.html', predictor, single=True)
    return home


@pytest.fixture(scope='module')
def address(folder):
    "Where a plain web server shows the folder, under a prefix."
    with web(partial(Quiet, directory=folder)) as server: yield f'{server}clinic/heels/'


@pytest.fixture
def visit(opened):
    "Open an address in a window of its own."
    def open_at(address, **how):
        page = opened(address, 120_000, **{'locale': 'en-GB', 'reduced_motion': 'reduce'} | how)
        page.locator('.examples button').first.wait_for()
        return page
    return open_at


def kept(page):
    "Wait until the page has been kept; its policy forbids Playwright's own way."
    for _ in range(600):
        if page.evaluate('!!navigator.serviceWorker.controller && !!document.querySelector(".version").textContent'): return
        page.wait_for_timeout(200)
    raise AssertionError(f'the page is not kept: {page.said}')


def record(page):
    "What the page saves as JSON."
    with page.expect_download() as saved: page.locator('.heels .save').first.click()
    return json.loads(saved.value.path().read_text())


def test_it_answers_without_a_network_and_sends_nothing(visit, address, predictor):
    page = visit(address)
    kept(page)
    page.context.set_offline(True)
    page.reload()
    upload(page, heels())
    expected, found = predictor(heels()), (verdict(page), record(page))[1]
    assert found['answer'] == expected.answer and [o['possible'] for o in found['feet']] == [list(o.possible) for o in expected.feet]
    assert max(abs(a['angle_deg'] - b.angle_deg) for a, b in zip(found['feet'], expected.feet, strict=True)) < .3
    with page.expect_download() as saved: page.locator('.heels .save-picture').click()
    assert Image.open(saved.value.path()).size[1] > 960
    page.locator('.next').click()
    assert page.locator('.result > *').count() == 0 and not page.locator('.preview').is_visible() and page.locator('.said').inner_text() == 'The answer appears here.'
    assert page.evaluate('document.activeElement.className') == 'choose'
    page.context.set_offline(False)
    assert {o.split('?')[0][:len(address)] for o in page.asked if not o.startswith(('data:', 'blob:'))} == {address}
    tries = ["fetch('http://localhost:9/')", "navigator.sendBeacon('http://localhost:9/', 'x') ? Promise.resolve() : Promise.reject()",
             "new Promise((d, f) => Object.assign(new Image(), {src: 'http://localhost:9/x', onload: d, onerror: f}))"]
    before = len(page.asked)
    for o in tries: page.evaluate(f'({o}).then(() => 1, () => 2)')
    within = "onmessage = () => fetch('http://localhost:9/').then(() => postMessage('sent'), () => postMessage('stopped')); "
    assert page.evaluate('''code => new Promise(done => { const o = new Worker(URL.createObjectURL(new Blob([code]))); o.onmessage = e => done(e.data); o.postMessage(1); })''', within) == 'stopped'
    assert [o for o in page.asked[before:] if 'localhost:9' in o] == [] or 'Content Security Policy' in ' '.join(page.said)


def test_what_cannot_be_answered_is_said_as_by_the_server(visit, address):
    page = visit(address, locale='hu-HU')
    for data, sentence in ((b'no picture', 'Ez a fájl nem olvasható képként'), (heels()[:4000], 'A fájl hamarabb véget ér, mint a kép'),
                           (b'\0\0\0\x18ftypheic' + bytes(50), 'Ez a böngésző nem tud HEIC képeket megnyitni')):
        upload(page, data)
        page.get_by_text(sentence).wait_for()
    with zipfile.ZipFile(demo_study()) as z: upload(page, z.read('H51B9J/not annotated 6099.jpg'))
    assert verdict(page) == 'Nincs válasz' and page.locator('.reasons li').count() == 1
    assert page.locator('.result h3').all_inner_texts() == ['Miért'] and page.locator('.result figure').count() == 0
    upload(page, heels(1), heels(2))
    page.get_by_text('2 képből 2 együtt', exact=True).wait_for()
    assert all(',' in o and '.' not in o for o in page.locator('.number').all_text_contents())


def test_it_says_when_there_is_a_newer_version(visit, address, folder):
    page = visit(address)
    kept(page)
    assert not page.locator('.newer').is_visible()
    worker = folder/'clinic'/'heels'/'sw.js'
    worker.write_text(worker.read_text().replace("VERSION = '", "VERSION = 'new"))
    page.reload()
    page.locator('.newer').get_by_text('There is a newer version').wait_for()
    for _ in range(50): # the old one goes when the new one has come
        if page.evaluate('caches.keys().then(o => o.length)') == 1: return
        page.wait_for_timeout(200)
    raise AssertionError('the files of the older version are still kept')


def test_one_file_answers_from_a_disk(visit, folder):
    page = visit((folder/'heels.html').as_uri(), offline=True)
    page.locator('.examples button').nth(1).click()
    page.locator('.verdict, .failed').first.wait_for()
    assert page.said == [] and verdict(page) == 'Supination'
    assert {o.split(':')[0] for o in page.asked} <= {'file', 'data', 'blob'}
