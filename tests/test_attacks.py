"""What senders who mean harm try on `anklealign serve`, and that others do not notice: each test once found the fault that its name denies."""
import http.server
import json
import os
import pty
import re
import resource
import signal
import socket
import struct
import subprocess
import time
import zlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import psutil
import pytest
from conftest import content, picture, web
from malformed import FILES, PROBLEM, png, whole
from test_serve import COMMAND, form, serving

PAGE, CALLS = {'ANKLEALIGN_SERVE_PAGE': 'yes'}, '/gradio_api/component_server/'
PHOTO = picture(1, size=(400, 500))


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "The service with its page."
    with serving(tmp_path_factory.mktemp('attacked'), **PAGE) as service: yield service


def connected(service, head='', body=b''):
    "A connection on which a request has begun."
    connection = socket.create_connection((service.base_url.host, service.base_url.port))
    connection.settimeout(60)
    with suppress(OSError): connection.sendall(head.encode() + body)
    return connection


def post(path, kind, length): return f'POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n'


def answer(connection):
    "What comes until the connection is closed, or nothing more comes for a minute."
    said = b''
    with suppress(OSError):
        while part := connection.recv(99_999): said += part
    return said


def closed(connection, seconds):
    "Whether the service closes a connection within a time."
    connection.settimeout(seconds)
    try:
        while connection.recv(99_999): pass
    except TimeoutError: return False
    except OSError: return True
    return True


def early(connection):
    "What comes within two seconds."
    connection.settimeout(2)
    try: return connection.recv(999)
    except OSError: return b''


def memory(service): return psutil.Process(service.process.pid).memory_info().rss/1e6


def refused(response):
    "Whether a response is a problem document with a status of 4xx."
    return 400 <= response.status_code < 500 and response.headers['content-type'] == PROBLEM and bool(response.json()['detail'])


def question(**changed):
    return {'data': {'photo': b64encode(PHOTO).decode(), 'language': 'en'}, 'component_id': 1, 'session_hash': 'a', 'fn_name': 'look'} | changed


KINDS = 'multipart/form-data; boundary=b0', 'image/jpeg', 'application/json', 'application/x-www-form-urlencoded'


@pytest.mark.parametrize('path', ['/predict', '/predict/batch', CALLS, CALLS[:-1], '/', '/gradio_api/upload', '/gradio_api/run/predict', '/health'])
def test_no_photo_reaches_the_disk(page, path):
    def written(): return {o: found for o in ('tmp', 'home', 'cwd') if (found := content(page.home/o))}
    body = form(np.random.default_rng(1).bytes(3_000_000), 'photo')
    with ExitStack() as stack:
        for kind in KINDS: stack.enter_context(connected(page, post(path, kind, len(body) + 1000), body)) # and the rest never comes
        until = time.monotonic() + .5
        while time.monotonic() < until:
            assert written() == {}
            time.sleep(.05)
    for kind in KINDS:
        page.post(path, content=body, headers={'content-type': kind})
        assert written() == {}


def test_names_of_sessions_are_not_kept(page):
    page.post(CALLS, json=question())
    before = memory(page)
    for i in range(25): assert page.post(CALLS, json=question(session_hash=f'{i}' + 'x'*10_000_000, data={})).status_code == 200
    assert memory(page) < before + 100


def test_memory_of_large_requests_is_given_back(page):
    page.photo(PHOTO)
    before, until = memory(page), time.monotonic() + 30
    for _ in range(3):
        with suppress(httpx.HTTPError): page.post('/predict', content=PHOTO[:2] + b'\xff'*19_000_000 + PHOTO[2:], headers={'content-type': 'image/jpeg'})
        with suppress(httpx.HTTPError): page.post(CALLS, json=question(session_hash='x'*19_000_000))
    while memory(page) > 1.1*before and time.monotonic() < until: time.sleep(.2)
    assert memory(page) <= 1.1*before


MALFORMED = {'no JSON': b'{', 'not UTF-8': b'"\xff"', 'a list': b'[]', 'unknown name': json.dumps(question(fn_name='__class__')).encode(), 'deep': b'['*100_000,
             'no name': b'{"data": 1}', 'name of another type': b'{"fn_name": {}}', 'long number': b'{"fn_name": "look", "data": ' + b'9'*9_999 + b'}', 'empty': b'',
             'half a letter': b'{"fn_name": "look", "data": "\\ud800"}'}


@pytest.mark.parametrize('body', MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_question_of_the_page_is_refused(page, body): assert refused(page.post(CALLS, content=body, headers={'content-type': 'application/json'}))


@pytest.mark.parametrize('changed', [{'component_id': 10**9}, {'component_id': None}, {'session_hash': []}, {'data': None}, {'more': 1}], ids=str)
def test_whatever_else_a_question_says_is_not_read(page, changed): assert page.post(CALLS, json=question(**changed)).status_code == 200


def test_any_numbers_can_be_put_together(page):
    odd = [10**400, -1, 1e308, None, [], {}, 'nan', True, '\0']
    good = {'probabilities': {'pronation': .2, 'neutral': .7, 'supination': .1}, 'ood_score': .5, 'withholds': False}
    asked = [{k: o} for k in good for o in odd] + [{'probabilities': good['probabilities'] | {'neutral': o}} for o in odd] + [{}]
    for o in asked: assert page.post(CALLS, json=question(fn_name='together', data={'numbers': [good | o]})).json().keys() in ({'record'}, {'reason'})
    for o in odd: assert page.post(CALLS, json=question(fn_name='together', data={'numbers': o, 'language': o})).status_code == 200


def test_odd_addresses_are_not_found(page):
    odd = ['/static/' + 'x'*5_000, '/assets/' + 'x/'*2_000, '/static/%00', '/static/../../etc/passwd', '/static/%2e%2e/%2e%2e/x', '/assets/' + '%F0%9F%98%80'*70,
           '/theme.css/x', '/static/', '/assets', '/x'*4_000]
    assert [page.get(o).status_code for o in odd] == [404]*len(odd)
    assert [refused(page.get(o)) for o in odd] == [True]*len(odd)
    assert [page.get(o).status_code for o in ('/?page=x', '/?__theme=' + 'x'*5_000, '/?view=api', '/theme.css?x=[')] == [200]*4
    assert refused(page.post('/')) and refused(page.put('/theme.css')) and refused(page.get(CALLS))


def test_browsers_are_told_to_keep_nothing(page):
    for response in (page.get('/health'), page.photo(PHOTO), page.photo(b'no'), page.post(CALLS, json=question()), page.get('/nowhere'), page.get('/')):
        assert response.headers['x-content-type-options'] == 'nosniff' and response.headers['referrer-policy'] == 'no-referrer'
        assert "frame-ancestors 'none'" in response.headers['content-security-policy']
        assert response.headers.get_list('cache-control') == ['no-store']


def test_whether_it_lives_can_be_asked_without_a_body(page):
    assert [(o.status_code, o.content) for o in map(page.head, ('/health', '/ready', '/'))] == [(200, b'')]*3
    assert page.put('/health').headers['allow'] == 'GET, HEAD'


def test_headers_have_an_end(page):
    def endless():
        sent = 0
        with connected(page, 'GET /health HTTP/1.1\r\nHost: a\r\nX: ') as connection, suppress(OSError):
            while sent < 2e7: sent += connection.send(b'a'*200_000)
        return sent
    with ThreadPoolExecutor(4) as senders:
        sent = [senders.submit(endless) for _ in range(4)]
        assert page.get('/health').status_code == 200
        assert max(o.result() for o in sent) < 1e7


def test_tiny_chunks_are_cut_off(page):
    def tiny():
        sent = 0
        with connected(page, 'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n') as connection:
            with suppress(OSError):
                while sent < 1e7: sent += connection.send(b'1\r\na\r\n'*9_000)
        return sent
    with ThreadPoolExecutor(4) as senders:
        sent = [senders.submit(tiny) for _ in range(4)]
        start = time.monotonic()
        assert page.get('/health').status_code == 200 and time.monotonic() - start < 10
        assert max(o.result() for o in sent) < 9e6
    in_pieces = (PHOTO[i:i + 500] for i in range(0, len(PHOTO), 500))
    assert page.post('/predict', content=in_pieces, headers={'content-type': 'image/jpeg'}).status_code == 200


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3000, reason='needs as many files as connections')
def test_half_headers_leave_room_for_others(page):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, limits[1]))
    try:
        with ExitStack() as stack:
            for _ in range(1200): stack.enter_context(connected(page, 'GET /health HTTP/1.1\r\nX-a: b'))
            assert page.get('/health').status_code == page.photo(PHOTO).status_code == 200
            assert psutil.Process(page.process.pid).num_fds() < 900
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_half_headers_and_slow_senders_keep_nobody_out_and_are_cut_off(page):
    with ExitStack() as stack:
        def begin(head, body=b''): return stack.enter_context(connected(page, head, body))
        half = [begin('GET /health HTTP/1.1\r\nX-a: b') for _ in range(20)]
        again = begin('GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nX')
        slow = {path: [begin(post(path, kind, 20_000), b'{"') for _ in range(40)] for path, kind in (('/predict', 'image/jpeg'), (CALLS, 'application/json'))}
        start = time.monotonic()
        assert page.photo(PHOTO).status_code == 200 and page.get('/ready').status_code == page.get('/health').status_code == 200
        assert time.monotonic() - start < 10 # they hold out for 30 seconds if they are let
        assert all(o[0].recv(999).startswith(b'HTTP/1.1 408') for o in slow.values())
        assert all(closed(o, 40) for o in (*half, again))


def test_memory_of_what_arrives_is_bounded(tmp_path):
    limits = {'ANKLEALIGN_SERVE_PHOTO_MEGABYTES': '1', 'ANKLEALIGN_SERVE_BATCH_MEGABYTES': '4', 'ANKLEALIGN_SERVE_UPLOADS': '2'}
    with serving(tmp_path/'service', **limits) as service, ExitStack() as stack:
        held = [stack.enter_context(connected(service, post('/predict', 'image/jpeg', 1_000_000), bytes(990_000))) for _ in range(8)]
        with ThreadPoolExecutor(len(held)) as readers: said = list(readers.map(early, held))
        assert any(o.startswith(b'HTTP/1.1 429') for o in said) and not all(said) # some are told to come again, the others wait for their last bytes
        assert service.photo(PHOTO).status_code == 200


@pytest.mark.parametrize('path', ['/predict', '/predict/batch', CALLS])
@pytest.mark.parametrize('kind', ['thin', 'slow', 'flipped', 'bomb'])
def test_no_picture_is_an_error_of_the_service(page, path, kind):
    rng, found = np.random.default_rng(7), []
    for _ in range(8):
        data = FILES[kind](rng)
        if path == CALLS: found.append(page.post(path, json=question(data={'photo': b64encode(data).decode()})))
        elif path == '/predict': found.append(page.photo(data))
        else: found.append(page.post(path, files=[('photos', data), ('photos', PHOTO)]))
    if path == '/predict': assert [o for o in found if not (o.status_code == 200 and kind == 'flipped') and not refused(o)] == []
    else: assert [o.status_code for o in found] == [200]*len(found)
    if path == '/predict/batch': assert [o.json()['answers'][1]['error'] for o in found] == ['']*len(found)
    assert '"level": "error"' not in page.log()


@pytest.mark.parametrize('which', ['JPEG', 'JPEG, junk', 'PNG', 'TIFF', 'EXIF'])
def test_no_header_takes_long(page, which):
    jpeg, chunk = whole('JPEG'), struct.pack('>I', 0) + b'teXt' + struct.pack('>I', zlib.crc32(b'teXt'))
    tags = lambda n, size: b'II*\0\x08\0\0\0' + struct.pack('<H', n) + b''.join(struct.pack('<HHII', 700 + i, 7, size, 0) for i in range(n)) + bytes(size)
    segments = [b'\xff\xe1' + struct.pack('>H', len(o) + 8) + b'Exif\0\0' + o for o in np.array_split(np.frombuffer(tags(300, 10**6), np.uint8), 20)
                for o in [o.tobytes()]]
    data = {'JPEG': jpeg[:2] + b'\xff'*19_000_000 + jpeg[2:], 'JPEG, junk': jpeg[:2] + bytes(19_000_000) + jpeg[2:], 'PNG': png(90, 90, extra=chunk*1_500_000),
            'TIFF': tags(300, 10**7), 'EXIF': jpeg[:2] + b''.join(segments) + jpeg[2:]}[which]
    before, start = memory(page), time.monotonic()
    assert refused(page.photo(data)) and time.monotonic() - start < 8
    assert memory(page) < before + 200


def test_it_stops_while_an_upload_is_unfinished(tmp_path):
    with serving(tmp_path/'service') as service, service.open()[0] as connection:
        connection.sendall(b'--')
        time.sleep(.5)
        service.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        assert service.process.wait(20) == 0
        assert time.monotonic() - start < 15 # five seconds, and what a slow machine needs
        assert b'503' in answer(connection)[:20]


@pytest.mark.parametrize('prefix', ['/heels', ''], ids=['kept by the proxy', 'taken off by the proxy'])
def test_a_proxy_may_show_it_under_a_prefix(behind, prefix):
    assert behind.get(f'{prefix}/health', headers={'authorization': ''}).status_code == 200 and behind.get(f'{prefix}/model', headers={'authorization': ''}).status_code == 401
    assert behind.photo(PHOTO, path=f'{prefix}/predict').status_code == behind.post(prefix + CALLS, json=question()).status_code == 200
    shown = behind.get(f'{prefix}/', headers={'x-forwarded-host': 'clinic.example'})
    assert shown.status_code == 200 and re.search(r'"root":\s*"https?://[^"/]+/heels"', shown.text)
    assert behind.get(f'{prefix}/theme.css').status_code == 200 and refused(behind.get(f'{prefix}/gradio_api/info')) and refused(behind.get('/heels/heels/health'))


@pytest.fixture(scope='module')
def behind(tmp_path_factory):
    "The service as it runs behind a proxy."
    env = {'ANKLEALIGN_SERVE_ROOT_PATH': '/heels', 'ANKLEALIGN_SERVE_API_KEY': 'hush'}
    with serving(tmp_path_factory.mktemp('behind'), {'authorization': 'Bearer hush'}, **PAGE, **env) as service: yield service


class Proxy(http.server.BaseHTTPRequestHandler):
    "Shows a service under /heels, as nginx would: the prefix taken off, `Host` passed on, the key added."
    def log_message(self, *_): pass

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        headers = {'host': self.headers['host'], 'authorization': 'Bearer hush', 'content-type': self.headers.get('content-type') or ''}
        came = self.service.request(self.command, self.path.removeprefix('/heels') or '/', content=body, headers=headers)
        self.send_response(came.status_code)
        for k, v in came.headers.items():
            if k not in ('content-length', 'content-encoding', 'transfer-encoding', 'connection', 'date'): self.send_header(k, v)
        self.send_header('content-length', str(len(came.content)))
        self.end_headers()
        self.wfile.write(came.content)

    do_GET = do_POST = pass_on


def test_the_page_works_behind_a_proxy(behind, opened):
    Proxy.service = behind
    with web(Proxy) as address:
        page = opened(f'{address}heels/')
        page.locator('.examples button').nth(3).click()
        assert page.locator('.verdict strong').inner_text() == 'No answer'
        assert {o.split('heels/')[0] for o in page.asked if o.startswith('http')} == {address}


MISTYPED = {'name': ({'ANKLEALIGN_SERVE_APIKEY': 'hushhush'}, ''), 'section': ({'ANKLEALIGN_SERV_API_KEY': 'hushhush'}, ''),
            'no sign': ({}, '[serve]\napi_key hushhush\n'), 'no section': ({}, 'api_key = hushhush\n'), 'file': ({}, '[serve]\napi_kee = hushhush\n')}


@pytest.mark.parametrize(('env', 'ini'), MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_key_is_not_shown(ankle, env, ini):
    if ini: (ankle.home/'settings.ini').write_text(ini)
    done = ankle('serve', '--port', '0', code=1, **env)
    assert done.stderr.startswith('anklealign: ') and 'hushhush' not in done.stdout + done.stderr


def test_a_terminal_obeys_no_file_name(tmp_path):
    (tmp_path/'a\x1b]0;owned\x07\x9b31m.jpg').write_bytes(b'no picture')
    ours, theirs = pty.openpty() # what the command writes to looks like a terminal
    done = subprocess.run([COMMAND, 'predict', *os.listdir(tmp_path)], cwd=tmp_path, stdout=theirs, stderr=theirs, timeout=60)
    os.close(theirs)
    said = b''
    with suppress(OSError):
        while part := os.read(ours, 9999): said += part
    os.close(ours)
    assert done.returncode == 1 and b'owned' in said and b'\x1b]' not in said and b'\x07' not in said and '\x9b'.encode() not in said


@pytest.mark.parametrize('sent', [b'GARBAGE\r\n\r\n', b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03' + bytes(200) + b'\r\n\r\n',
                                  b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n'], ids=range(4))
def test_what_is_no_request_is_told_so(page, sent):
    with connected(page, body=sent) as connection: said = answer(connection)
    assert said.startswith(b'HTTP/1.1 400 ') and PROBLEM.encode() in said and b'nosniff' in said
