"""The page that holds the model against Python: the same answers, how fast, how much travels, how much memory. In headless Chromium.

python benchmarks/page.py [FOLDER ...] [--study 279] [--phantoms 60] [--rounds 200]
Pictures of the demonstration study, which are phantoms, fresh phantoms, every third as PNG, large photos made from them, and every file of the folders.
Times of a processor are those of all processes of the browser, and hold on a busy machine too. `anklealign/results/page.txt` keeps what is printed.
"""
import functools
import http.server
import io
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from base64 import b64encode
from pathlib import Path

import numpy as np
import psutil
from common import options, saved
from PIL import Image
from playwright.sync_api import sync_playwright

from anklealign.app.page import make_offline, translations
from anklealign.deploy import Predictor
from anklealign.images import PictureError
from anklealign.storage import demo_study

ASK = '''async () => { // the page's own worker, opened as the page opens it
  const {graph, words} = JSON.parse(document.querySelector('#props').textContent), at = o => ({...o, address: new URL(o.address, location).href});
  const desk = new Worker(URL.createObjectURL(new Blob([await (await fetch(graph.worker.address)).text()])));
  window.ask = (call, asked) => new Promise(done => { desk.onmessage = ({data}) => done(data); desk.postMessage({turn: 2, call, asked}); });
  await ask('open', {runtime: at(graph.runtime), graph: at(graph.graph), about: {...graph.about, texts: words}});
}'''
LOOK = '''async text => {
  const blob = new Blob([Uint8Array.from(atob(text), o => o.charCodeAt(0))]), start = performance.now(), {value, reason} = await ask('look', {blob, language: 'en'});
  return {record: value?.record, reason, took: performance.now() - start};
}'''


def large(data, kind, turn=1):
    "A photo of twelve megapixels, as a phone takes it."
    im = Image.open(io.BytesIO(data)).convert('RGB')
    size = (3024, round(3024*im.height/im.width))
    exif = Image.Exif()
    exif[0x0112] = turn
    im = im.resize(size, Image.Resampling.BICUBIC)
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(turn)
    return saved(im.transpose(turned) if turned else im, kind, exif=exif, **{'JPEG': {'quality': 92}, 'PNG': {'compress_level': 1}}.get(kind, {}))


def pictures(folders, phantoms, most):
    "Kind and bytes of each picture."
    with zipfile.ZipFile(demo_study()) as z: drawn = [z.read(o) for o in sorted(z.namelist()) if o.lower().endswith('.jpg')]
    yield from (('demonstration study', drawn[i*len(drawn)//most]) for i in range(most))
    with tempfile.TemporaryDirectory() as home:
        from anklealign.phantom.picture import write_pictures
        if phantoms: write_pictures(home, phantoms, seed=7, workers=1)
        files = [o for o in sorted(Path(home).rglob('*')) if o.suffix == '.jpg']
        yield from (('phantoms as PNG', saved(Image.open(o), 'PNG')) if i % 3 == 2 else ('phantoms', o.read_bytes()) for i, o in enumerate(files))
    kinds = [('JPEG', 1), ('JPEG', 6), ('JPEG', 8), ('JPEG', 3), ('PNG', 1), ('WEBP', 1)]*2 + [('JPEG', 1)]*12
    yield from (('large photos', large(drawn[7*i], *o)) for i, o in enumerate(kinds))
    for folder in folders:
        yield from (('odd files', o.read_bytes()) for o in sorted(Path(folder).rglob('*')) if o.is_file() and o.suffix not in ('.json', '.ini', '.md', '.zip', '.csv'))


def gist(record): return record['answer'], [(o['side'], bool(o['possible'])) for o in record['feet']]


def classes(record): return [list(o['possible']) for o in record['feet']]


def plain(reasons): return [re.sub(r'\b[01]\.\d\d', 'p', o) for o in reasons] # without the probabilities that they quote


def compared(browser, address, predictor, chosen):
    "For each kind: pictures, same answers, same classes of all heels, differences of angles; and what differs."
    page, rows, refusals = browser.new_page(), {}, translations()['refusals']
    page.set_default_timeout(600_000)
    page.goto(address)
    page.evaluate(ASK)
    for kind, data in chosen:
        found = page.evaluate(LOOK, b64encode(data).decode())
        row = rows.setdefault(kind, {'n': 0, 'same': 0, 'classes': 0, 'apart': [], 'left': 0})
        if (found['reason'] or '').startswith('format'):
            row['left'] += 1 # which this browser cannot decode, and says so
            continue
        try: answer = predictor(data)
        except PictureError as e:
            row['n'] += 1
            reason = next((o for o in refusals if str(e).startswith(o)), 'other')
            row['same'] += found['reason'] == reason
            row['classes'] += found['reason'] == reason
            if found['reason'] != reason: print(kind, found['reason'] or 'an answer', 'but Python:', e, file=sys.stderr)
            continue
        row['n'] += 1
        if found['reason']:
            print(kind, found['reason'], 'but Python:', gist({'answer': answer.answer, 'feet': [vars(o) for o in answer.feet]}), file=sys.stderr)
            continue
        mine = {'answer': answer.answer, 'feet': [vars(o) for o in answer.feet]}
        same = gist(mine) == gist(found['record']) and plain(answer.reasons) == plain(found['record']['reasons'])
        row['same'] += same
        row['classes'] += classes(mine) == classes(found['record'])
        pairs = zip(mine['feet'], found['record']['feet'], strict=False)
        row['apart'] += [abs(a['angle_deg'] - b['angle_deg']) for a, b in pairs if None not in (a['angle_deg'], b['angle_deg'])]
        if not same or classes(mine) != classes(found['record']): print(kind, gist(mine), classes(mine), answer.reasons, gist(found['record']), classes(found['record']), found['record']['reasons'], file=sys.stderr)
    page.close()
    return rows


def busy(): return {o.pid: sum(o.cpu_times()[:2]) for o in psutil.Process().children(True)}


def since(before): return sum(o - before.get(pid, 0) for pid, o in busy().items())


def first_and_later(browser, address, photo):
    "Seconds from an empty browser to the first answer, of the clock and of a processor, and bytes sent; the same of a later answer."
    context = browser.new_context(service_workers='block')
    page, sent = context.new_page(), []
    page.set_default_timeout(600_000)
    page.on('requestfinished', lambda o: sent.append(sum(o.sizes()[k] for k in ('responseBodySize', 'responseHeadersSize'))) if o.url.startswith('http') else None)
    start, before = time.monotonic(), busy()
    page.goto(address)
    page.locator('.file').set_input_files({'name': 'a.jpg', 'mimeType': 'image/jpeg', 'buffer': photo})
    page.locator('.verdict').wait_for()
    first, bytes_sent = (time.monotonic() - start, since(before)), sum(sent)
    page.evaluate(ASK)
    page.evaluate('text => { window.photo = text; }', b64encode(photo).decode())
    def look(): return page.evaluate(f'() => ({LOOK})(photo)')['took']/1000
    for _ in range(3): look()
    before = busy()
    took = [look() for _ in range(10)]
    later = np.median(took), since(before)/len(took)
    context.close()
    return first, bytes_sent, later


def memory(): return sum(o.memory_info().rss for o in psutil.Process().children(True) if '--type=renderer' in o.cmdline())/1e6


def many(browser, address, photo, rounds):
    "Megabytes of the browser's pages after ten photos, and after all."
    page = browser.new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    for i in range(rounds):
        page.locator('.file').set_input_files({'name': 'a.jpg', 'mimeType': 'image/jpeg', 'buffer': photo})
        page.locator('.verdict').wait_for()
        page.locator('.next').click()
        if i == 9: early = memory()
    return early, memory()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass


def main():
    args = options(__doc__, ('folders', dict(nargs='*')), study=279, phantoms=60, rounds=200)
    predictor, home = Predictor(), tempfile.TemporaryDirectory()
    made = make_offline(Path(home.name)/'page', predictor)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=made))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}/'
    with zipfile.ZipFile(demo_study()) as z: photo = large(z.read('D6AE9F/sajat_resztvevo02_02.jpg'), 'JPEG')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        rows = compared(browser, address, predictor, pictures(args.folders, args.phantoms, args.study))
        print(f"{'browser against Python':24} {'pictures':>9} {'same':>6} {'classes':>8} {'angles':>7} {'median':>8} {'largest':>8}  cannot decode")
        for kind, o in (rows | {'all': {k: sum((v[k] for v in rows.values()), [] if k == 'apart' else 0) for k in ('n', 'same', 'classes', 'apart', 'left')}}).items():
            apart = o['apart'] or [np.nan]
            print(f"{kind:24} {o['n']:9} {o['same']:6} {o['classes']:8} {len(o['apart']):7} {np.median(apart):7.3f}° {max(apart):7.2f}°  {o['left']}")
        first, sent, later = first_and_later(browser, address, photo)
        print('{:.1f} MB sent; first answer {:.1f} s after the first visit ({:.1f} s of a processor)'.format(sent/1e6, *first))
        print('later ones {:.0f} ms for a JPEG of 12 megapixels ({:.0f} ms of a processor)'.format(*(1000*o for o in later)))
        if args.rounds >= 10: print('memory of the page {:.0f} MB after 10 photos of 12 megapixels, {:.0f} MB after {}'.format(*many(browser, address, photo, args.rounds), args.rounds))
        print(f'Chromium {browser.version}, one thread; {os.cpu_count()} cores, {os.getloadavg()[1]:.1f} programs at work on them')
        browser.close()
    server.shutdown()


if __name__ == '__main__': main()
