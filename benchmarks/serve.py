"""How fast an answer is: the graph against PyTorch, a large photo, a cold start; everything in one run, so read the ratios.

python benchmarks/serve.py [--bundle PATH] [--threads 1 2] [--repeats 40]

1. One 224 px picture through each model of the project: PyTorch eager against the exported graph, threads equal, in turns;
   with each of the numbers of threads. What follows takes the first of them.
   The weights are random, which changes no time. The graph does more: scaling, evidence, out-of-distribution score; the bare one does not.
2. From the bytes of a generated 12-megapixel JPEG to the answer, quality check included, and the parts of it.
3. `anklealign predict one.jpg` from a shell, against a Python that only imports fastai.
Without --bundle a run of the recipe `heels_imagenet` is trained for one epoch first; how good it is does not matter here.
"""
import io
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import busy, options
from prepare_speed import photo

from anklealign.core import load_settings
from anklealign.data import prepare
from anklealign.deploy import Predictor, picture_of, seen_pixels
from anklealign.images import measure
from anklealign.storage import demo_study
from anklealign.training.onnx import Served, Typical, export_run, looks_of, parts_of, to_onnx
from anklealign.training.recipes import models, recipes
from anklealign.training.train import train

MODELS = ('tinycnn', 'gapcnn', 'resnet18', 'lite0', 'lite0_degrees')


def in_turns(repeats, **tasks):
    "Median milliseconds of each task, the tasks taking turns."
    took = {name: [] for name in tasks}
    for task in tasks.values(): task()
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            took[name].append(1000*(time.perf_counter() - start))
    return {name: statistics.median(o) for name, o in took.items()}


def model_times(threads, repeats):
    torch.set_num_threads(threads)
    import onnxruntime  # after anklealign, which keeps it from reporting to its maker
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0') # its idle threads would take PyTorch's time
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float()/255
    print(f"one picture of 224 px, {threads} thread{'s'*(threads > 1)}, milliseconds (median of {repeats}, in turns)")
    print(f'{"":16}{"PyTorch":>10}{"bare graph":>12}{"graph":>10}{"ratio":>10}')
    for name in MODELS:
        model = models[name](replace(recipes['baseline'], size=224)).eval()
        with torch.inference_mode(): looks = looks_of(parts_of(model)[0](torch.rand(8, 3, 224, 224))).numpy()
        session = onnxruntime.InferenceSession(to_onnx(Served(model, Typical(looks)), 224), options)
        def eager(model=model):
            with torch.inference_mode(): return model(floats)
        alone = onnxruntime.InferenceSession(bare(model, floats), options)
        took = in_turns(repeats, eager=eager, bare=lambda alone=alone: alone.run(None, {'x': floats.numpy()}),
                        graph=lambda session=session: session.run(None, {'pixels': pixels}))
        print(f'{name:16}{took["eager"]:10.1f}{took["bare"]:12.1f}{took["graph"]:10.1f}{took["graph"]/took["eager"]:10.2f}')
    print()


def bare(model, floats):
    "The graph of the model alone, without scaling, evidence and out-of-distribution score."
    with redirect_stdout(io.StringIO()): made = torch.onnx.export(model, (floats,), dynamo=True, input_names=['x'], verbose=False)
    return made.model_proto.SerializeToString()


def photo_times(bundle, threads, repeats):
    predictor, data = Predictor(bundle, threads=threads), photo(1, 12)
    how = predictor.about.preprocessing
    picture = picture_of(data, 2*how.size)
    pixels = seen_pixels(picture, how)[None]
    took = in_turns(repeats, answer=lambda: predictor(data), with_map=lambda: predictor(data, explain=True), decode=lambda: picture_of(data, 2*how.size),
                    pixels=lambda: seen_pixels(picture, how), quality=lambda: measure(picture.image), graph=lambda: predictor.session.run(None, {'pixels': pixels}),
                    full_decode=lambda: picture_of(data))
    print(f'from the {len(data)/1e6:.1f} MB of a 12-megapixel JPEG to the answer (model {predictor.about.recipe["model"]} at {how.model_size} px), milliseconds')
    for name, o in took.items(): print(f'{name.replace("_", " "):16}{o:10.1f}')


def cold_times(bundle, folder, repeats):
    file = folder/'one.jpg'
    file.write_bytes(photo(1, 12))
    command = [Path(sys.executable).with_name('anklealign'), 'predict', file, '--model', bundle]
    run = lambda *args: subprocess.run([str(o) for o in args], check=True, capture_output=True)
    took = in_turns(repeats, predict=lambda: run(*command), fastai=lambda: run(sys.executable, '-W', 'ignore', '-c', 'import fastai.vision.all'),
                    nothing=lambda: run(sys.executable, '-c', 'pass'))
    print(f'\ncold start, seconds (median of {repeats}, in turns)')
    names = {'predict': 'anklealign predict one.jpg', 'fastai': 'import fastai.vision.all', 'nothing': 'Python that does nothing'}
    for k, name in names.items(): print(f'{name:34}{took[k]/1000:10.2f}')
    print(f'ratio {took["fastai"]/took["predict"]:.1f}')


if __name__ == '__main__':
    given = options(__doc__, bundle=dict(type=Path), threads=[1, 2], repeats=40)
    with tempfile.TemporaryDirectory() as d:
        home = Path(d)
        if given.bundle is None:
            study = prepare(demo_study(), home/'output')
            given.bundle = export_run(train(study, home/'run', replace(recipes['heels_imagenet'], epochs=1, steps=0)), study, load_settings(env={}))
        print(f'{busy()}\n', flush=True)
        for threads in given.threads: model_times(threads, given.repeats)
        photo_times(given.bundle, given.threads[0], given.repeats)
        cold_times(given.bundle, home, 5)
