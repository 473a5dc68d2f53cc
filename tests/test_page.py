"""The page in a real browser: headless Chromium, driven by Playwright, and a server of its own."""
import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from conftest import free_port, picture, saved
from PIL import Image
from test_report_page import CONTRASTS

from anklealign.decision import aggregate
from anklealign.inference.bundle import read_bundle
from anklealign.storage import demo_bundle, demo_study

PHONE, DESKTOP = {'width': 360, 'height': 740}, {'width': 1280, 'height': 900}
SERVE = [Path(sys.executable).with_name('anklealign'), 'serve', '--port']

# Paste or drop a file: its content as base64, or a number of zeros.
GIVE = '''([kind, name, data]) => {
  const transfer = new DataTransfer(), bytes = typeof data === 'number' ? new Uint8Array(data) : Uint8Array.from(atob(data), o => o.charCodeAt(0));
  transfer.items.add(new File([bytes], 'photo.jpg', {type: 'image/jpeg'}));
  window.dispatchEvent(new window[kind](name, {[kind === 'DragEvent' ? 'dataTransfer' : 'clipboardData']: transfer, bubbles: true}));
}'''


def heels(number=2):
    "A synthetic picture, as somebody would upload it; there are three of this person that show the heels from behind."
    with zipfile.ZipFile(demo_study()) as z: return z.read(f'D6AE9F/sajat_resztvevo10_0{(1, 3, 2)[number - 1]}.jpg')


def number(text): return float(text.strip('<> '))


def heavy():
    "A picture of more than a megabyte, which servers like to put aside on the disk."
    return saved(Image.open(io.BytesIO(heels())).resize((1600, 2140)), 'PNG', compress_level=1)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    "The page, with a home and temporary folders of its own: its address and the folder that holds them."
    home = tmp_path_factory.mktemp('server')
    port = free_port()
    places = {o: str(home/o.lower()) for o in ('HOME', 'TMPDIR', 'GRADIO_TEMP_DIR', 'XDG_CACHE_HOME')}
    for o in places.values(): os.mkdir(o)
    process = subprocess.Popen([*SERVE, str(port)], cwd=home, env=os.environ | places | {'PYTHONDONTWRITEBYTECODE': '1'})
    address = f'http://127.0.0.1:{port}/'
    for _ in range(300):
        assert process.poll() is None, 'the server ended'
        try: urlopen(address, timeout=5).close()
        except OSError: time.sleep(.2)
        else: break
    yield address, home
    process.terminate()
    assert process.wait(20) is not None


@pytest.fixture
def visit(opened, server):
    "Open the page in a window."
    def open_in(window=DESKTOP, **how):
        page = opened(server[0], viewport=window, **{'locale': 'en-GB', 'reduced_motion': 'reduce'} | how)
        page.locator('.examples button').first.wait_for()
        return page
    return open_in


def upload(page, *photos, name='photo.jpg', button='.choose'):
    "Choose files with a button."
    with page.expect_file_chooser() as chooser: page.locator(button).click()
    chooser.value.set_files([{'name': name, 'mimeType': 'application/octet-stream', 'buffer': o} for o in photos])


def verdict(page):
    "The class that the page shows, once it does."
    return page.locator('.verdict strong').inner_text()


def sentence(page):
    "What went wrong, once the page says so."
    page.locator('.said.failed').wait_for()
    return page.locator('.said').inner_text()


def test_a_photo_is_answered(visit):
    page = visit()
    upload(page, heels())
    assert verdict(page) == 'Supination'
    assert re.fullmatch(r'Supination, probability (> )?[01]\.\d\d\. Left heel: .*', page.locator('.said').inner_text())
    numbers = [number(o) for o in page.locator('.bars .number').all_inner_texts()]
    assert len(numbers) == 3 and abs(sum(numbers) - 1) < .02
    assert page.get_by_role('heading').all_inner_texts() == ['Rear-foot alignment', 'Photo', 'Or try an example', 'Answer', 'Probabilities',
                                                            'Cannot be ruled out', 'For a better photo']
    assert page.evaluate('[...document.images].filter(o => o.offsetParent).every(o => o.complete && o.naturalWidth > 0)')
    assert page.get_by_role('group', name='The photo with a line on each heel').count() == 1
    assert page.locator('.feet li').count() == 2 and page.locator('.mark').count() == 4
    assert page.locator('.said').get_attribute('role') == 'status'
    assert page.said == []


@pytest.mark.parametrize('window', [PHONE, pytest.param(DESKTOP, marks=pytest.mark.slow)], ids=['phone', 'desktop'])
def test_marks_can_be_moved_and_put_back(visit, window):
    page = visit(window)
    upload(page, heels())
    verdict(page)
    said, mark = page.locator('.feet li').first, page.locator('.mark').first
    before = said.inner_text()
    mark.focus()
    for _ in range(8): page.keyboard.press('ArrowLeft')
    assert said.inner_text() != before and said.inner_text().endswith('as you set the marks.')
    box = mark.bounding_box()
    page.mouse.move(box['x'] + box['width']/2, box['y'] + box['height']/2)
    page.mouse.down()
    page.mouse.move(box['x'] + box['width']/2 + 25, box['y'] + box['height']/2)
    page.mouse.up()
    dragged = said.inner_text()
    with page.expect_download() as saved: page.locator('.heels .save').click()
    left, right = json.loads(Path(saved.value.path()).read_text())['feet']
    assert (left['set_by'], left['low_deg'], right['set_by']) == ('person', None, 'model')
    assert f"{abs(round(left['angle_deg']))}°" in dragged or 'upright' in dragged
    page.locator('.heels .reset').click()
    assert said.inner_text() == before
    assert page.evaluate('document.documentElement.scrollWidth') == window['width']
    assert page.said == []


@pytest.mark.parametrize('window', [PHONE, pytest.param(DESKTOP, marks=pytest.mark.slow)], ids=['phone', 'desktop'])
def test_it_always_says_what_it_is_not(visit, window):
    page = visit(window)
    page.locator('.examples button').first.click()
    verdict(page)
    for place in (0, 300, 10**6):
        page.evaluate('top => scrollTo({top, behavior: "instant"})', place)
        for words in ('A screening aid, never a diagnosis.', 'demonstration model, trained on synthetic pictures'):
            box = page.locator('footer').get_by_text(words).bounding_box()
            assert 0 <= box['y'] <= window['height'] - box['height']


def test_what_is_no_photo_gets_a_sentence(visit):
    page = visit(locale='hu-HU')
    upload(page, b'no picture', name='letter.txt')
    assert sentence(page) == 'Ez a fájl nem olvasható képként: használjon JPEG, PNG, HEIC, WebP vagy AVIF fájlt.'
    upload(page, heels()[:4000])
    page.get_by_text('A fájl hamarabb véget ér, mint a kép').wait_for()
    page.evaluate(GIVE, ['ClipboardEvent', 'paste', 20_000_001])
    page.get_by_text('A fájl nagyobb, mint 20 MB').wait_for()
    assert page.locator('.verdict').count() == 0
    upload(page, heels())
    assert verdict(page) == 'Szupináció'


def test_several_photos_of_a_person_get_one_answer(visit):
    page = visit(PHONE)
    upload(page, heels(1), heels(2), b'no picture')
    page.locator('.unanswered').wait_for()
    assert page.locator('details').count() == 2
    assert page.locator('.result > .verdict span').last.inner_text() == '2 of 3 photos together'
    assert page.locator('.said').inner_text().startswith('2 of 3 photos together: ')
    assert page.locator('.unanswered').inner_text().startswith('3. This file cannot be read as a picture')
    assert page.locator('.preview').is_visible() and not page.locator('.no-preview').is_visible()
    assert page.evaluate('document.documentElement.scrollWidth') == PHONE['width']
    alone = page.locator('details').first
    assert not alone.locator('figure').is_visible()
    alone.locator('summary').focus()
    page.keyboard.press('Enter')
    assert alone.locator('figure').is_visible()
    numbers = [[number(o) for o in part.locator('.number').all_text_contents()] for part in (page.locator('.result > .bars'), *page.locator('details').all())]
    both, *alone = map(np.array, numbers) # in hundredths
    together = aggregate(np.array(alone), [0, 0], read_bundle(demo_bundle()).about.thresholds.sharpening)[0]
    assert abs(both - together).max() < .02
    page.get_by_role('button', name='Magyar').click()
    page.get_by_text('3 képből 2 együtt', exact=True).wait_for()
    upload(page, heels())
    page.get_by_text('Jobb fényképhez').wait_for()
    assert page.locator('details').count() == 0
    assert page.said == []


def test_a_photo_can_be_added(visit):
    page = visit()
    assert not page.locator('.more').is_visible()
    page.locator('.examples button').nth(2).click()
    verdict(page)
    for n in (2, 3):
        upload(page, heels(n), button='.more')
        page.get_by_text(f'{n} of {n} photos together', exact=True).wait_for()
    upload(page, *[heels()]*6, button='.more')
    assert sentence(page) == 'At most 8 photos are answered together: choose fewer.'
    assert page.locator('details').count() == 3 # those that were there
    upload(page, b'no picture', b'none either')
    page.get_by_text('0 of 2 photos together', exact=True).wait_for()
    assert verdict(page) == 'No answer' and page.locator('.unanswered').count() == 2
    assert page.said == []
    page.locator('.examples button').nth(2).click()
    verdict(page)
    assert page.locator('details').count() == 0


def test_a_server_that_is_gone_is_told(visit):
    page = visit()
    page.route('**/component_server/', lambda o: o.abort())
    page.locator('.examples button').first.click()
    assert sentence(page).startswith('The server did not answer')


def test_the_answer_is_about_the_last_photo(visit):
    page = visit()
    held = []
    page.route('**/component_server/', lambda o: o.continue_() if held else held.append(o))
    with page.expect_request('**/component_server/'): page.locator('.examples button').nth(0).click()
    page.locator('.examples button').nth(3).click()
    assert verdict(page) == 'No answer'
    with page.expect_response('**/component_server/') as late: held[0].continue_()
    assert late.value.json()['record']['answer'] == 'neutral'
    page.wait_for_timeout(100)
    assert verdict(page) == 'No answer' and page.locator('.reasons li').count() == 1


def test_it_speaks_the_language_of_the_reader(visit):
    page = visit(locale='hu-HU')
    assert page.evaluate('document.documentElement.lang') == 'hu'
    page.get_by_role('button', name='Példa 2').click()
    assert verdict(page) == 'Szupináció'
    page.get_by_role('button', name='English').click()
    page.get_by_text('Cannot be ruled out').wait_for()
    assert verdict(page) == 'Supination' and page.title() == 'Rear-foot alignment'
    page.reload()
    page.get_by_role('button', name='English', pressed=True).wait_for()
    assert page.get_by_role('heading', level=1).inner_text() == 'Rear-foot alignment'
    assert page.evaluate('Object.keys(localStorage)') == ['anklealign-language']
    assert page.context.cookies() == []


def test_another_language_gets_english(visit): assert visit(locale='de-DE').evaluate('document.documentElement.lang') == 'en'


@pytest.mark.parametrize('locale', ['en', 'hu'])
def test_it_fits_on_a_phone(visit, locale):
    page = visit(PHONE, locale=locale, has_touch=True)
    assert page.locator('.choose').is_visible() and not page.locator('.drop').is_visible() # nobody drags on a phone
    assert page.evaluate('document.documentElement.scrollWidth') == PHONE['width']
    page.locator('.examples button').nth(3).click()
    verdict(page)
    assert page.evaluate('document.documentElement.scrollWidth') == PHONE['width']
    page.wait_for_function('document.querySelector(".verdict").getBoundingClientRect().top < innerHeight/2')
    assert all(o.bounding_box()['height'] >= 40 for o in page.get_by_role('button').all())


def test_a_keyboard_is_enough(visit):
    page, names = visit(), []
    page.on('filechooser', lambda o: o.set_files({'name': 'photo.jpg', 'mimeType': 'image/jpeg', 'buffer': heels()}))
    for _ in range(8):
        page.keyboard.press('Tab')
        names.append(page.evaluate('document.activeElement.textContent.trim()'))
        assert page.evaluate('parseFloat(getComputedStyle(document.activeElement).outlineWidth)') >= 2
    assert names == ['English', 'Magyar', 'Choose a photo', 'Use the camera', 'Example 1', 'Example 2', 'Example 3', 'Example 4']
    page.keyboard.press('Enter')
    assert verdict(page) == 'No answer'
    for _ in range(5): page.keyboard.press('Shift+Tab')
    assert page.evaluate('document.activeElement.textContent') == 'Choose a photo'
    page.keyboard.press('Enter')
    page.get_by_text('Supination', exact=True).first.wait_for()


@pytest.mark.parametrize('way', [('ClipboardEvent', 'paste'), ('DragEvent', 'drop')], ids=['paste', 'drop'])
def test_a_photo_can_be_pasted_and_dropped(visit, way):
    page = visit()
    page.evaluate(GIVE, [*way, b64encode(heels()).decode()])
    assert verdict(page) == 'Supination'


def test_the_camera_of_a_computer(visit):
    page = visit()
    page.evaluate('''() => { navigator.mediaDevices.getUserMedia = async () => {
      const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 240}), pen = canvas.getContext('2d');
      setInterval(() => { pen.fillStyle = `rgb(${99 * Math.random()} 90 80)`; pen.fillRect(0, 0, 320, 240); }, 20);
      return canvas.captureStream(30);
    }; }''')
    page.get_by_role('button', name='Use the camera').click()
    page.wait_for_function('document.querySelector("video").videoWidth > 0')
    page.get_by_role('button', name='Take the photo').click()
    assert verdict(page) == 'No answer'
    page.get_by_text('320 × 240').wait_for()
    assert page.evaluate('document.querySelector("video").srcObject') is None
    page.evaluate('() => { navigator.mediaDevices.getUserMedia = async () => { throw new Error("none"); }; }')
    page.get_by_role('button', name='Use the camera').click()
    assert sentence(page).startswith('The camera cannot be used')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_it_can_be_read(visit, scheme):
    page = visit(color_scheme=scheme)
    found = dict(page.evaluate(CONTRASTS))
    page.locator('.examples button').nth(3).click()
    verdict(page)
    found |= dict(page.evaluate(CONTRASTS))
    assert len(found) > 25 and {k: v for k, v in found.items() if v < 4.5} == {}
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == ('rgb(18, 23, 29)' if scheme == 'dark' else 'rgb(244, 246, 248)')


def test_nobody_else_is_asked_for_anything(visit, server):
    page = visit()
    upload(page, heels())
    verdict(page)
    assert [o for o in page.asked if not o.startswith((server[0], 'data:', f'blob:{server[0]}'))] == []
    assert page.evaluate('fetch("http://localhost:9/").then(() => "sent", () => "stopped")') == 'stopped'
    assert 'Content Security Policy' in ' '.join(page.said)


def test_nothing_is_written(visit, server):
    page, files = visit(), lambda: [o for o in server[1].rglob('*') if o.is_file()]
    for data in (heavy(), picture(1)):
        upload(page, data)
        page.locator('.verdict').wait_for()
    upload(page, heavy()[:1_000_000])
    sentence(page)
    page.evaluate(GIVE, ['ClipboardEvent', 'paste', b64encode(heels()).decode()])
    verdict(page)
    assert files() == []
