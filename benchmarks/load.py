"""The service under load: 64 clients at once, against a FastAPI endpoint that calls PyTorch eager, in one run; so read the ratios.

python benchmarks/load.py [--clients 64] [--seconds 60] [--small-seconds 15] [--replicas]

Both endpoints are processes of their own, asked one after the other by the same clients with the same generated photos (synthetic), as form uploads.
The other endpoint is what one writes first: open with Pillow, turn by EXIF, pad, divide by 255, the same network twice (picture and mirror image), softmax.
Ours does more: limits, quality check, prediction set, out-of-distribution score, evidence. The other one's threads are the best
of those tried (see EAGER_THREADS).
Weights are random there, which changes no time. The clients use the same two cores, which costs both endpoints the same.
With --replicas, only one process and two, one core each, are compared, asked in turns by the same clients; four rounds of each.
"""
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
from common import busy, options
from prepare_speed import photo

from anklealign.images import PictureError, open_picture
from anklealign.storage import demo_study

EAGER_THREADS = 1 # of PyTorch, for each of FastAPI's threads; with 2 the threads of forty requests fight for two cores
SERVE = [str(Path(sys.executable).with_name('anklealign')), 'serve', '--port', '0']


def eager_app():
    "The endpoint that one writes first."
    import io

    import torch
    from fastapi import FastAPI, UploadFile
    from PIL import Image, ImageOps

    from anklealign.core import CLASSES
    from anklealign.training.recipes import recipes
    from anklealign.training.runs import Mirrored
    from anklealign.transfer import models
    torch.set_num_threads(EAGER_THREADS)
    app, model, size = FastAPI(), Mirrored(models['lite0_degrees'](recipes['heels_imagenet'])).eval(), recipes['heels_imagenet'].size

    @app.post('/predict')
    def predict(photo: UploadFile):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo.file.read()))).convert('RGB')
        pixels = torch.from_numpy(np.array(ImageOps.pad(image, (size, size)))).permute(2, 0, 1)[None].float()/255
        with torch.inference_mode(): return dict(zip(CLASSES, model(pixels).exp()[0].tolist(), strict=True))

    return app


def eager():
    import socket

    import uvicorn
    with socket.create_server(('127.0.0.1', 0)) as listening:
        print(json.dumps({'address': f'http://127.0.0.1:{listening.getsockname()[1]}'}), flush=True)
        uvicorn.Server(uvicorn.Config(eager_app(), log_level='error', access_log=False)).run(sockets=[listening])


class Running:
    "A server as a process, while the block runs."
    def __init__(self, command): self.command = command

    def __enter__(self):
        self.log = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.DEVNULL)
        while not (said := [o['address'] for o in self.said() if 'address' in o]): time.sleep(.1)
        self.port, self.memory = int(said[0].rpartition(':')[2]), psutil.Process(self.process.pid)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return list(map(json.loads, self.log.read().splitlines()))

    def megabytes(self): return self.memory.memory_info().rss/1e6

    def worked(self): return sum(self.memory.cpu_times()[:2])


def form(data):
    "A whole request with one photo."
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + data + b'\r\n--x--\r\n'
    return f'POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body


async def ask(reader, writer, request):
    "Status of one request on an open connection."
    writer.write(request)
    head = await reader.readuntil(b'\r\n\r\n')
    await reader.readexactly(int(re.search(rb'(?i)content-length: (\d+)', head)[1]))
    return int(head.split()[1])


async def client(port, requests, until, took, errors):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    while time.perf_counter() < until:
        start = time.perf_counter()
        try: status = await ask(reader, writer, requests[len(took) % len(requests)])
        except (OSError, asyncio.IncompleteReadError) as e:
            errors.append(type(e).__name__)
            reader, writer = await asyncio.open_connection('127.0.0.1', port)
            continue
        took.append((time.perf_counter(), time.perf_counter() - start))
        if status != 200: errors.append(status)
    writer.close()


async def watched(server, samples, until):
    while time.perf_counter() < until:
        samples.append((time.perf_counter(), server.megabytes()))
        await asyncio.sleep(.2)


async def load(server, requests, clients, seconds):
    "What many clients meet who ask again as soon as they have an answer."
    for o in requests: await client(server.port, [o], time.perf_counter() + .01, [], [])
    idle, worked, took, errors, samples, start = server.megabytes(), server.worked(), [], [], [], time.perf_counter()
    crowd = [client(server.port, requests, start + seconds, took, errors) for _ in range(clients)]
    await asyncio.gather(watched(server, samples, start + seconds), *crowd)
    end = max(o for o, _ in took) - start
    later = [[m for t, m in samples if a <= (t - start)/seconds < b] for a, b in ((.25, .5), (.75, 1))]
    p50, p99 = np.percentile([o for _, o in took], [50, 99])
    return {'answers': len(took), 'ms of CPU each': 1000*(server.worked() - worked)/len(took), 'a second': len(took)/end, 'errors': len(errors),
            'p50, seconds': p50, 'p99, seconds': p99, 'p99 / p50': p99/p50, 'MB before': idle, 'MB at most': max(m for _, m in samples), 'MB grown': statistics.median(later[1]) - statistics.median(later[0])}


def replicas(photos, clients, seconds, rounds=4):
    "Answers a second of one process and of two, whose clients take turns."
    found, one, ask = {1: [], 2: []}, {'ANKLEALIGN_SERVE_ANSWERS': '1'}, [form(o) for o in photos]
    os.environ |= one
    with Running([*SERVE, '--no-page']) as first, Running([*SERVE, '--no-page']) as second:
        async def rate(ports):
            until, took, errors = time.perf_counter() + seconds, [], []
            await asyncio.gather(*(client(ports[i % len(ports)], ask, until, took, errors) for i in range(clients)))
            assert not errors, errors
            return len(took)/seconds
        asyncio.run(rate([first.port, second.port])) # warms both
        for _ in range(rounds):
            for n in found: found[n].append(asyncio.run(rate([first.port, second.port][:n])))
    print(f'replicas with one core each, {clients} clients, {rounds} times {seconds} s in turns; answers a second')
    for n, o in found.items(): print(f'{n} process{"es"*(n > 1):4}{statistics.median(o):10.1f}   ({min(o):.1f} to {max(o):.1f})')
    print(f'two / one: {statistics.median(b/a for a, b in zip(*found.values(), strict=True)):.2f}')


def compare(title, photos, clients, seconds):
    requests, found = [form(o) for o in photos], {}
    for name, command in (('service', [*SERVE, '--no-page']), ('eager', [sys.executable, __file__, '--eager'])):
        with Running(command) as server: found[name] = asyncio.run(load(server, requests, clients, seconds))
    print(f'\n{title}, {clients} clients, {seconds} s each\n{"":16}{"service":>10}{"eager":>10}')
    for k in found['service']: print(f'{k:16}' + ''.join(f'{found[o][k]:10.{0 if k[:2] == "MB" or isinstance(found[o][k], int) else 2}f}' for o in found))
    ratios = [found['service'][k]/found['eager'][k] for k in ('a second', 'ms of CPU each')]
    print(f'throughput, service / eager: {ratios[0]:.2f}; by CPU time: {1/ratios[1]:.2f}', flush=True)


def memory(photos):
    print('resident memory of the service, MB (started; after 20 photos)')
    for name, option in (('without page', '--no-page'), ('with page', '--page')):
        with Running([*SERVE, option]) as server:
            started = server.megabytes()
            asyncio.run(client_times(server.port, [form(o) for o in photos], 20))
            asked, missing = server.megabytes(), [o['missing'] for o in server.said() if 'missing' in o]
        print(f'{name:16}{started:10.0f}{asked:10.0f}' + ''.join(f'   (no page: there is no {o})' for o in missing))


async def client_times(port, requests, times):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    for i in range(times): await ask(reader, writer, requests[i % len(requests)])
    writer.close()


def usable(data):
    try: return open_picture(data).format == 'JPEG'
    except PictureError: return False


if __name__ == '__main__':
    given = options(__doc__, clients=64, seconds=60, small_seconds=15, eager=dict(action='store_true', help='be the other endpoint'),
                    replicas=dict(action='store_true', help='compare one process with two, and nothing else'))
    if given.eager: sys.exit(eager())
    large = [photo(i, 12) for i in range(1, 5)]
    with zipfile.ZipFile(demo_study()) as study: small = [o for o in map(study.read, sorted(study.namelist())) if usable(o)][:20]
    print(busy(), flush=True)
    if given.replicas: sys.exit(replicas(large, given.clients, given.small_seconds))
    memory(large)
    compare(f'photos of 12 megapixels, {np.mean([len(o) for o in large])/1e6:.1f} MB', large, given.clients, given.seconds)
    compare(f'pictures of 320 px, {np.mean([len(o) for o in small])/1e3:.0f} kB', small, given.clients, given.small_seconds)
