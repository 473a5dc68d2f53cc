"""Senders who mean harm, all at once, and how long somebody waits meanwhile who only sends a photo.

python benchmarks/attacks.py [--seconds 60]   starts a service with its page, and keeps what the normal client got in `anklealign/results/attacks.txt`

The normal client opens a connection for each photo. It shares the machine with the attackers, so its waits hold for a machine that does nothing else.
"""
import json
import os
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np
import psutil
from common import busy, keep, options

from anklealign.storage import demo_study

sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))
from malformed import running

CALLS = '/gradio_api/component_server/'


@cache
def photo():
    "A synthetic photo of heels."
    with zipfile.ZipFile(demo_study()) as z: return z.read('D6AE9F/sajat_resztvevo10_02.jpg')


def head(path, *lines): return '\r\n'.join([f'POST {path} HTTP/1.1', 'Host: a', *lines, '', '']).encode()


def send(port, until, first, piece, pause):
    "Send `first`, then `piece` again and again, and come back when cut off."
    while time.time() < until:
        with suppress(OSError), socket.create_connection(('127.0.0.1', port)) as s:
            s.settimeout(2)
            s.sendall(first)
            while time.time() < until:
                s.sendall(piece)
                time.sleep(pause)


def ask(base, until, path, content, kind):
    "Ask the same again and again."
    with httpx.Client(base_url=base, timeout=60) as client:
        while time.time() < until:
            with suppress(httpx.HTTPError): client.post(path, content=content, headers={'content-type': kind})


def attackers(base, until):
    "How many there are of each kind, what they do, and with what."
    port = int(base.rpartition(':')[2])
    fill = photo()[:2] + b'\xff'*19_000_000 + photo()[2:]
    names = json.dumps({'fn_name': 'look', 'data': {}, 'session_hash': 'x'*20_000_000}).encode()
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n' + bytes(3_000_000)
    return {'endless headers': (2, send, (port, until, b'GET /health HTTP/1.1\r\nX: ', b'a'*200_000, 0)),
            'half headers': (300, send, (port, until, b'GET /health HTTP/1.1\r\nX-a', b'', 60)),
            'slow senders': (40, send, (port, until, head('/predict', 'Content-Type: image/jpeg', 'Content-Length: 20000'), b'a', 1)),
            'tiny chunks': (1, send, (port, until, head('/predict', 'Content-Type: image/jpeg', 'Transfer-Encoding: chunked'), b'1\r\na\r\n'*9000, 0)),
            'fill bytes': (2, ask, (base, until, '/predict', fill, 'image/jpeg')), 'long names': (1, ask, (base, until, CALLS, names, 'application/json')),
            'forms to the page': (1, ask, (base, until, CALLS, form, 'multipart/form-data; boundary=b'))}


def attack(base, until):
    "A thread for each attacker."
    threads = [threading.Thread(target=f, args=args, daemon=True) for n, f, args in attackers(base, until).values() for _ in range(n)]
    for o in threads: o.start()
    for o in threads: o.join(max(0., until + 2 - time.time()))
    os._exit(0)


def normal(base, until):
    "What a client gets that sends a photo five times a second: seconds and statuses."
    seconds, statuses, data = [], Counter(), photo()
    with httpx.Client(base_url=base, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        while time.time() < until:
            start = time.perf_counter()
            try: statuses[client.post('/predict', content=data, headers={'content-type': 'image/jpeg'}).status_code] += 1
            except httpx.HTTPError as e: statuses[type(e).__name__] += 1
            seconds.append(time.perf_counter() - start)
            time.sleep(.2)
    return seconds, statuses


def main(seconds):
    with tempfile.TemporaryDirectory() as home, running(Path(home)/'log', env=os.environ | {'TMPDIR': home}) as (service, base):
        process, before = psutil.Process(service.pid), busy()
        quiet, _ = normal(base, time.time() + 5)
        memory, until = process.memory_info().rss/1e6, time.time() + seconds
        kinds = {k: o[0] for k, o in attackers(base, until).items()}
        theirs = get_context('fork').Process(target=attack, args=(base, until)) # the normal client must not share their interpreter
        theirs.start()
        waited, statuses = normal(base, until)
        theirs.join()
        time.sleep(15)
        left = [o.name for o in Path(home).rglob('*') if o.is_file() and o.name != 'log']
        lines = [f'{before}; the attackers run on the same machine for {seconds:g} s', '',
                 'attackers: ' + ', '.join(f'{n} × {k}' for k, n in kinds.items())]
        for name, o in (('alone', quiet), ('attacked', waited)):
            lines.append(f'normal client, {name}: n = {len(o)}, p50 {np.median(o):.2f} s, p99 {np.quantile(o, .99):.2f} s, longest {max(o):.2f} s')
        lines += ['statuses: ' + ', '.join(f'{k}: {n}' for k, n in statuses.items()),
                  f'resident memory, MB: {memory:.0f} before, {process.memory_info().rss/1e6:.0f} 15 s after; files left behind: {left or "none"}']
    keep('attacks', lines)


if __name__ == '__main__':
    main(options(__doc__, seconds=60.).seconds)
