"""The page of an evaluation in a real browser: headless Chromium, driven by Playwright."""
import io
import re
from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from anklealign.evaluation.document import Gallery, Plot, Section, Table, html_page

PHONE, DESKTOP = {'width': 360, 'height': 800}, {'width': 1280, 'height': 900}

# For every element with text of its own: that text, and the contrast (WCAG 2.2) of its colour with the nearest background behind it.
CONTRASTS = '''() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(o => o / 255).map(o => o <= .04045 ? o / 12.92 : ((o + .055) / 1.055) ** 2.4)
    .reduce((sum, o, i) => sum + o * [.2126, .7152, .0722][i], 0);
  const behind = o => { const c = numbers(getComputedStyle(o).backgroundColor); return c.length < 4 || c[3] > 0 ? c : behind(o.parentElement); };
  const own = o => [...o.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
  return [...document.body.querySelectorAll('*')].filter(own).map(o => {
    const [dark, light] = [luminance(numbers(getComputedStyle(o).color)), luminance(behind(o))].sort((a, b) => a - b);
    return [own(o), (light + .05) / (dark + .05)];
  });
}'''


def plot(width):
    "A plot in black, on nothing."
    figure = Figure(figsize=(width, 3), layout='constrained')
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], 'ko-')
    ax.set(xlabel='confidence', ylabel='accuracy')
    return figure


@cache
def sample():
    "A page with all kinds of parts and with words that are hard to fit in."
    long = 'sajat_resztvevo_' + 'x' * 80 + '.jpg'
    why = 'No annotator has ten votes on pictures of which the others have a majority.'
    wide = Table(['picture', *(f'column {i}' for i in range(9))], [[long, *(i / 7 for i in range(8)), why], ['2.jpg', None, *range(7), why]], f'A wide table with {long}')
    pixels = np.random.default_rng(1).integers(0, 255, (5, 128, 128, 3), dtype=np.uint8)
    sections = [Section('Tables', ['A paragraph.', long], [wide, Table(['class', 'n', 'accuracy'], [['neutral', 3, .5]], 'A narrow table')]),
                Section('Plots', 'Two of them.', [Plot(plot(4), 'A rising line', 'Narrow'), Plot(plot(9), 'The same, wide', 'Wide')]),
                Section('Pictures', 'Noise.', [Gallery([(o, long, f'Noise {i}') for i, o in enumerate(pixels)])])]
    return html_page('Evaluation of a sample', f'It cannot be told: accuracy 0.5, {long}.', ['A note.'], 'A screening aid, never a diagnosis.', sections)


@pytest.fixture
def visit(opened, tmp_path):
    "Open the sample in a window."
    file = tmp_path/'report.html'
    file.write_text(sample())
    def open_in(window, scheme='light'):
        page = opened(file.as_uri(), viewport=window, color_scheme=scheme)
        for o in page.locator('summary').all(): o.click()
        return page
    return open_in


def levels(page, selector):
    "Luminance of every pixel of an element, and the commonest of them."
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert('RGB')) / 255
    light = np.where(pixels <= .04045, pixels / 12.92, ((pixels + .055) / 1.055)**2.4) @ [.2126, .7152, .0722]
    values, counts = np.unique(light.round(3), return_counts=True)
    return light, values[counts.argmax()]


def test_it_is_quiet_and_asks_for_nothing(visit):
    page = visit(DESKTOP)
    assert page.said == []
    assert [o for o in page.asked if not o.startswith('data:')] == [page.url]


def test_the_policy_stops_scripts_and_requests(visit):
    page = visit(DESKTOP)
    page.evaluate('''() => {
      document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}));
      document.body.append(Object.assign(document.createElement('img'), {src: 'http://localhost:9/x.png'}));
    }''')
    page.wait_for_timeout(100)
    assert page.evaluate('window.ran') is None
    assert len([o for o in page.said if 'Content Security Policy' in o]) == 2


def test_all_parts_are_there(visit):
    page = visit(DESKTOP)
    assert page.get_by_role('heading').all_inner_texts() == ['Evaluation of a sample', 'Tables', 'Plots', 'Pictures']
    assert page.get_by_role('heading', level=1).count() == 1
    assert page.get_by_role('table', name='A narrow table').get_by_role('rowheader').all_inner_texts() == ['neutral']
    assert page.get_by_role('table').count() == 2 and page.get_by_role('columnheader').count() == 13
    named = page.get_by_role('img', name=re.compile('.'))
    assert named.count() == page.locator('img, svg').count() == 7
    assert page.evaluate('[...document.images].every(o => o.complete && o.naturalWidth > 0)')


def test_only_the_first_section_is_open_until_a_heading_is_clicked(visit):
    page = visit(PHONE)
    assert page.locator('details[open]').count() == page.locator('details').count() == 2 # `visit` has clicked on both
    for o in page.locator('summary').all(): o.click()
    assert page.locator('details[open]').count() == 0 and page.get_by_role('heading').count() == 4
    assert page.get_by_role('table', name='A narrow table').is_visible() and not page.locator('.gallery').is_visible()


def test_a_term_says_what_it_means(visit):
    page = visit(PHONE)
    assert page.locator('abbr').all_inner_texts() == ['accuracy'] and 'answered rightly' in page.locator('abbr').get_attribute('title')


@pytest.mark.parametrize('window', [PHONE, DESKTOP], ids=['phone', 'desktop'])
def test_the_page_never_scrolls_sideways(visit, window):
    page = visit(window)
    assert page.evaluate('document.documentElement.scrollWidth') == window['width']


def test_a_wide_table_scrolls_in_its_box_by_keyboard(visit):
    page = visit(PHONE)
    box = page.get_by_role('group', name='A wide table')
    assert box.get_by_role('row').last.bounding_box()['height'] < 130 # its last cell is a sentence, and no column of single words
    box.focus()
    page.keyboard.press('ArrowRight')
    page.wait_for_function('o => o.scrollLeft > 0', arg=box.element_handle())
    assert box.get_by_role('rowheader').first.bounding_box()['x'] == box.bounding_box()['x']


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_and_plots_can_be_read(visit, scheme):
    page = visit(PHONE, scheme)
    found = dict(page.evaluate(CONTRASTS))
    assert len(found) > 30 and {k: v for k, v in found.items() if v < 4.5} == {}
    light, paper = levels(page, '.plot img')
    assert paper < .05 if scheme == 'dark' else paper > .9
    farthest = light.max() if scheme == 'dark' else light.min()
    assert (max(farthest, paper) + .05) / (min(farthest, paper) + .05) >= 4.5
    assert abs(levels(page, 'h2')[1] - paper) < .001


def test_pictures_keep_their_colours_in_the_dark(visit):
    light, dark = (levels(visit(PHONE, o), '.gallery img')[0][2:-2, 2:-2] for o in ('light', 'dark')) # an edge may share its pixel with the page
    assert np.array_equal(light, dark)


def test_it_prints_on_white(visit):
    page = visit(DESKTOP, 'dark')
    assert page.pdf(format='A4').startswith(b'%PDF')
    for o in page.locator('summary').all(): o.click()
    page.emulate_media(media='print')
    assert page.locator('.gallery').bounding_box()['height'] > 50 # also what was closed is on paper
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    assert page.evaluate("getComputedStyle(document.querySelector('.plot img')).filter") == 'none'
