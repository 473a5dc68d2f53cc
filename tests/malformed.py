"""Uploads that no service should have to answer, and what becomes of them.

python tests/malformed.py [--n 2000] [--seed 1]   sends n of them to a fresh service and prints what it said

A broken file is one that plain Pillow cannot open to the last pixel, or that claims more than the service takes:
that a file is broken is never judged by what is tested.
"""
import argparse
import asyncio
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pillow_heif
import psutil
from PIL import Image

pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings('ignore', module='PIL') # of damaged metadata
SAVED = {'JPEG': {}, 'JPEG, progressive': {'progressive': True}, 'PNG': {}, 'WEBP': {}, 'WEBP, lossless': {'lossless': True}, 'HEIF': {}, 'AVIF': {},
         'TIFF': {}, 'TIFF, LZW': {'compression': 'tiff_lzw'}, 'BMP': {}}
PROBLEM, FORM = 'application/problem+json', 'multipart/form-data; boundary=b0'


class Case(NamedTuple):
    "One malformed request."
    kind: str
    body: bytes
    content_type: str
    path: str = '/predict'


@cache
def whole(kind, size=(96, 120)):
    "A valid file."
    out, noise = io.BytesIO(), np.random.default_rng(len(kind)).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(out, kind.split(',')[0], **SAVED[kind])
    return out.getvalue()


def broken(data):
    "Whether plain Pillow fails on it."
    try:
        with Image.open(io.BytesIO(data)) as im: im.convert('RGB')
    except Exception: return True
    return min(im.size) < 16


def png(width, height, depth=8, colour=2, data=b'', extra=b''):
    "A PNG with any header."
    chunk = lambda kind, o: struct.pack('>I', len(o)) + kind + o + struct.pack('>I', zlib.crc32(kind + o))
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + extra + chunk(b'IDAT', data or zlib.compress(bytes(99))) + chunk(b'IEND', b'')


def truncated(rng):
    "A file cut off somewhere."
    data = whole(rng.choice(list(SAVED)))
    return data[:rng.integers(1, int(.8*len(data)))]


def flipped(rng):
    "A file with wrong bits, most of them in its header, but not in the first bytes that tell its format."
    data = np.frombuffer(whole(rng.choice(list(SAVED))), np.uint8).copy()
    at = 12 + ((len(data) - 12)*rng.random(rng.integers(2, 40))**3).astype(int)
    data[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return data.tobytes()


def polyglot(rng):
    "The beginning of one thing and the rest of another."
    foreign = [b'GIF89a', b'%PDF-1.7\n', b'PK\3\4', b'MZ', b'<svg ', b'#!/bin/sh\n', b'%!PS-Adobe-3.0 EPSF-3.0\n']
    signatures = [whole(o)[:rng.integers(2, 24)] for o in SAVED] + foreign
    others = [whole(o) for o in SAVED] + [b'<html><script>alert(1)</script>', archive(), b'<?php system($_GET[0]); ?>', bytes(500)]
    return rng.choice(np.array(signatures, object)) + rng.choice(np.array(others, object))


@cache
def archive():
    "A zip with a picture in it."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z: z.writestr('a.jpg', whole('JPEG'))
    return out.getvalue()


@cache
def bombs():
    "Small files that would become large, or take long."
    solid, progressive = io.BytesIO(), whole('JPEG, progressive')
    Image.new('1', (20_000, 20_000)).save(solid, 'PNG', optimize=False)
    last, jpeg, head = progressive.rindex(b'\xff\xda'), whole('JPEG'), whole('JPEG').index(b'\xff\xc0') + 5
    squeezed = b'a\0\0' + zlib.compress(bytes(80_000_000))
    text = struct.pack('>I', len(squeezed)) + b'zTXt' + squeezed + struct.pack('>I', zlib.crc32(b'zTXt' + squeezed))
    bmp = bytearray(whole('BMP'))
    bmp[18:26] = struct.pack('<ii', 40_000, 40_000)
    tiff = whole('TIFF')
    for tag, was in ((256, 96), (257, 120)): tiff = tiff.replace(struct.pack('<HHII', tag, 4, 1, was), struct.pack('<HHII', tag, 4, 1, 10**6))
    return [solid.getvalue(), png(60_000, 60_000), png(2**31 - 1, 2**31 - 1), png(9_000, 9_000),
            jpeg[:head] + struct.pack('>HH', 65_500, 65_500) + jpeg[head + 4:],
            progressive[:-2] + progressive[last:-2]*5_000 + b'\xff\xd9', png(90, 90, extra=text), bytes(bmp), tiff]


def bomb(rng):
    "One of `bombs`, with something behind it."
    return bombs()[rng.integers(len(bombs()))] + rng.bytes(rng.integers(0, 9))


def hollow(rng):
    "A header that promises a large picture within limits, and nothing behind it."
    width, height = rng.integers(3_000, 6_000, 2)
    return png(int(width), int(height), int(rng.choice([8, 16])), int(rng.choice([0, 2, 6])), zlib.compress(bytes(int(rng.integers(1, 10**6)))))


def impossible(rng):
    "Sizes that are none, or too small, or too many."
    width, height = (int(rng.choice([0, 1, 2, 15, 100_000, 2**31 - 1])) for _ in range(2))
    return png(width, height, int(rng.choice([1, 3, 8, 16, 77])), int(rng.choice([0, 1, 2, 3, 6, 9])))


def other(rng):
    "Something else altogether."
    text = np.array([b'', b'\0', b' ', b'\xff\xd8', b'\xff\xd8\xff\xd9', b'<html></html>', b'{"a": 1}', b'null', b'RIFF\0\0\0\0WEBPVP8 ',
                     b'\0\0\0\x18ftypheic', b'\0\0\0\x18ftypmp42', b'II*\0\x08\0\0\0', b'BM', b'GIF89a\1\0\1\0', b'%PDF-1.7', b'8BPS\0\1',
                     b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'ő'.encode('utf-16'), archive(),
                     b'#define x_width 99\n#define x_height 99\nstatic char x_bits[] = {0};', b'P6 99 99 255\n' + bytes(99*99*3)], object)
    return rng.choice(text) + (rng.bytes(rng.integers(0, 300)) if rng.random() < .5 else b'')


def thin(rng):
    "A picture that is wide enough and no wider, and very long."
    short = int(rng.integers(16, 40))
    size = (short, int(rng.integers(33*short, 9_000)))[::int(rng.choice([1, -1]))]
    out = io.BytesIO()
    Image.new('RGB', size, 'teal').save(out, str(rng.choice(['JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP'])))
    return out.getvalue()


@cache
def slow_ones():
    "Pictures whose headers take long to read, or much memory."
    jpeg, chunk = whole('JPEG'), struct.pack('>I', 0) + b'teXt' + struct.pack('>I', zlib.crc32(b'teXt'))
    greedy = b'II*\0\x08\0\0\0' + struct.pack('<H', 900) + b''.join(struct.pack('<HHII', 700 + i, 7, 60_000, 0) for i in range(900)) + bytes(60_000)
    exif = b'\xff\xe1' + struct.pack('>H', 65_000) + (b'Exif\0\0' + greedy)[:64_998]
    return [jpeg[:2] + o + jpeg[2:] for o in (b'\xff'*900_000, bytes(900_000), b'\xff\xd0'*400_000, b'\xff\xfe\0\2'*200_000, exif)] + [
        png(90, 90, extra=chunk*80_000), greedy]


def slow(rng):
    "One of `slow_ones`."
    return slow_ones()[rng.integers(len(slow_ones()))] + rng.bytes(rng.integers(0, 9))


FILES = {o.__name__: o for o in (truncated, flipped, polyglot, bomb, hollow, impossible, other, thin, slow)}
NAMES = ['a.jpg', 'ő képe.png', '../../etc/passwd', 'a\\b.heic', 'x'*3_000, '', 'a%00.jpg', '"><script>', 'CON', '.jpg', 'a.php', '\u202egpj.exe']


def form(data, field='photo', name='a.jpg', kind='image/jpeg', boundary='b0', times=1):
    "A form with a file."
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
    return (head + data + b'\r\n')*times + f'--{boundary}--\r\n'.encode()


def forms(rng):
    "Requests that are wrong around a picture that is right."
    data = whole('JPEG')
    good = form(data)
    disposition = b'--b0\r\nContent-Disposition: form-data; '
    bodies = {'cut': good[:rng.integers(0, len(good) - 3)], 'field': form(data, 'foto'), 'twice': form(data, times=2), 'many': form(b'', times=2_000),
              'empty': b'--b0--\r\n', 'nothing': b'', 'header': b'--b0\r\nX: ' + b'y'*300_000 + b'\r\n\r\nz\r\n--b0--\r\n',
              'headers': b'--b0\r\n' + b'X: y\r\n'*20_000 + b'\r\nz\r\n--b0--\r\n', 'text': disposition + b'name="photo"\r\n\r\nhello\r\n--b0--\r\n',
              'noise': rng.bytes(999), 'no name': disposition + b'filename="a"\r\n\r\nz\r\n--b0--\r\n'}
    several = {'too many': form(data, 'photos', times=99), 'field': good, 'cut': form(data, 'photos')[:-9]}
    types = ['multipart/form-data', f'{FORM}1', f'{FORM}; charset=undefined', f'multipart/form-data; boundary={"b"*2_000}']
    others = ['text/plain', 'application/json', 'application/x-www-form-urlencoded', '', 'multipart/mixed; boundary=b0']
    return [*(Case(f'form, {k}', o, FORM) for k, o in bodies.items()), *(Case(f'form, {k}', o, FORM, '/predict/batch') for k, o in several.items()),
            *(Case('form, type', good, o) for o in types), *(Case('type', data, o) for o in others),
            *(Case('query', good, FORM, f'/predict?{o}') for o in ('overlay=perhaps', 'language=xx', f'x={rng.integers(99)}'))]


def malformed(
    n: int, # requests
    seed: int = 1,
) -> Iterator[Case]:
    "Malformed requests, the same for the same seed."
    rng = np.random.default_rng(seed)
    for i in range(n):
        if i % 4 == 3:
            cases = forms(rng)
            yield cases[i//4 % len(cases)]
            continue
        kind = list(FILES)[(i - i//4) % len(FILES)]
        data = FILES[kind](rng)
        while kind not in ('bomb', 'thin', 'slow') and not broken(data): data = FILES[kind](rng) # those are valid pictures that must not be decoded
        if rng.random() < .3: yield Case(kind, data, str(rng.choice(['image/jpeg', 'image/png', 'image/x-nothing', 'application/octet-stream'])))
        else: yield Case(kind, form(data, name=str(rng.choice(NAMES)), kind=str(rng.choice(['image/jpeg', 'text/html', 'image/heic']))), FORM)


def wrong_with(response):
    "What is wrong with the refusal of a malformed request; empty if nothing is."
    if not 400 <= response.status_code < 500: return f'status {response.status_code}'
    if response.headers.get('content-type') != PROBLEM: return f'type {response.headers.get("content-type")}'
    said = response.json()
    whole = said.keys() == {'type', 'title', 'status', 'detail', 'instance'} and said['status'] == response.status_code and said['detail']
    return '' if whole else 'incomplete document'


async def send_all(base, cases, at_once=4, after=lambda i: None):
    "For each case its status and what is wrong with the refusal, in order."
    found, gate = {}, asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        async def one(i, case):
            async with gate:
                response = await client.post(case.path, content=case.body, headers={'content-type': case.content_type})
                found[i] = response.status_code, wrong_with(response)
                after(len(found))
        await asyncio.gather(*(one(i, o) for i, o in enumerate(cases)))
        healthy = (await client.get('/health')).status_code
        answered = (await client.post('/predict', files={'photo': whole('JPEG', (400, 500))})).status_code
    return [found[i] for i in sorted(found)], (healthy, answered)


@contextmanager
def running(log, *options, **kw):
    "A service as a process that writes its log to the file `log`; gives the process and its address."
    with open(log, 'w') as out: process = subprocess.Popen([Path(sys.executable).with_name('anklealign'), 'serve', '--port', '0', *options], stdout=out, **kw)
    try:
        while not (said := re.search(r'"address": "(.+?)"', Path(log).read_text())):
            if process.poll() is not None: raise RuntimeError(f'the service has not started: exit code {process.returncode}')
            time.sleep(.05)
        yield process, said[1]
    finally:
        process.kill()
        process.wait()


def main(n, seed):
    with tempfile.TemporaryDirectory() as folder:
        (own := Path(folder)/'tmp').mkdir()
        with running(Path(folder)/'log', '--no-page', stderr=subprocess.DEVNULL, env=os.environ | {'TMPDIR': str(own)}) as (service, base):
            return send_and_tell(n, seed, service, base, own)


def send_and_tell(n, seed, service, base, own):
    memory, samples = psutil.Process(service.pid), []
    started = memory.memory_info().rss
    cases = list(malformed(n, seed))
    found, after = asyncio.run(send_all(base, cases, after=lambda i: samples.append(memory.memory_info().rss)))
    left, _ = sorted(o.name for o in own.rglob('*')), time.sleep(15)
    at_rest = memory.memory_info().rss/1e6
    service.terminate()
    kinds = [o.kind.split(',')[0] for o in cases]
    statuses = {o: Counter(s for k, (s, _) in zip(kinds, found, strict=True) if k == o) for o in sorted(set(kinds))}
    print(f'{date.today()}, {n} malformed uploads, seed {seed}, {sum(len(o.body) for o in cases)/1e6:.0f} MB\n\n{"kind":12}{"n":>6}  status: times')
    for kind, o in statuses.items(): print(f'{kind:12}{o.total():6}  ' + ', '.join(f'{k}: {v}' for k, v in sorted(o.items())))
    bad = [(c.kind, w) for c, (_, w) in zip(cases, found, strict=True) if w]
    quarter = [float(np.median(o))/1e6 for o in np.array_split(samples, 4)]
    print(f'\nnot refused with a 4xx problem document: {len(bad)} {bad[:9] or ""}')
    print(f'afterwards /health {after[0]}, a good picture {after[1]}, exit code {service.wait(60)}')
    told = ', '.join(f'{o:.0f}' for o in quarter)
    print(f'resident memory, MB: started {started/1e6:.0f}; median of each quarter of the requests {told}; most {max(samples)/1e6:.0f}, 15 s after {at_rest:.0f}')
    print(f'in the temporary folder of the service: {left or "nothing"}')
    return bool(bad or left) or after != (200, 200)


if __name__ == '__main__':
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--n', type=int, default=2000)
    args.add_argument('--seed', type=int, default=1)
    given = args.parse_args()
    sys.exit(main(given.n, given.seed))
