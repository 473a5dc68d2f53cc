"""Draws the arithmetic of quality checks and decision rule, which Python does with NumPy, as graphs that the page runs: app/static/*.onnx.

python benchmarks/page_graphs.py, whenever that arithmetic changes. tests/test_offline.py compares the graphs with Python.
"""
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.export import Dim

from anklealign.core import CLASSES
from anklealign.decision import _mean_of, _not_excluded, _sharpened, _tempered, _weighted
from anklealign.heels.feet import COLUMNS, VIEWS, HeelRule, judged
from anklealign.images import numbers_of

OUT = Path(__file__).parents[1]/'anklealign'/'app'/'static'


class Quality(nn.Module):
    "The numbers of a picture."
    def forward(self, pixels, trim): return torch.stack(numbers_of(pixels[..., :3].float(), trim, torch))


class Classes(nn.Module):
    "Log probabilities of the classes for each photo of a person, to the answer for all, and the classes that cannot be ruled out."
    def forward(self, said, temperature, factors, sharpening, thresholds):
        mean, pictures = _mean_of(_weighted(_tempered(said.exp().double(), temperature, torch), factors), torch)
        answer = _sharpened(mean[None], pictures[None], sharpening)
        return answer[0], _not_excluded(answer, thresholds, torch)[0]


class Heels(nn.Module):
    "What the graph of a bundle says of heels, to what is said about them."
    def forward(self, feet, outlines, views, size, rule):
        rule = SimpleNamespace(**dict(zip(NUMBERS, rule, strict=False)), cutoffs=rule[len(NUMBERS):])
        return tuple(judged(feet[0].double(), outlines[0].double(), views[0].double(), size[0], size[1], rule, torch).values())


NUMBERS = [k for k in HeelRule.model_fields if k != 'cutoffs']
STATES = 'seen', 'found', 'against', 'low', 'high', 'possible', 'box', 'upper', 'lower', 'outline'


def drawn(module, inputs, shapes, outputs):
    "A graph, as small as PyTorch makes it."
    made = torch.onnx.export(module.eval(), tuple(inputs.values()), dynamo=True, input_names=list(inputs), output_names=list(outputs), dynamic_shapes=shapes, verbose=False)
    for node in made.model.graph: node.metadata_props.clear() # which hold paths of the machine
    return made.model_proto.SerializeToString()


def graphs():
    "Name to graph."
    n, double = len(CLASSES), torch.float64
    height, width, photos, rows = Dim('height', min=8, max=4096), Dim('width', min=2, max=4096), Dim('photos', max=64), Dim('rows', max=1024)
    one, three = torch.ones((), dtype=double), torch.ones(n, dtype=double)
    return {
        'quality': drawn(Quality(), {'pixels': torch.zeros(40, 30, 4, dtype=torch.uint8), 'trim': torch.tensor(3)}, ({0: height, 1: width}, {}), ['numbers']),
        'classes': drawn(Classes(), {'said': torch.zeros(3, n), 'temperature': one, 'factors': three, 'sharpening': one.clone(), 'thresholds': three.clone()},
                         ({0: photos}, {}, {}, {}, {}), ['probabilities', 'possible']),
        'heels': drawn(Heels(), {'feet': torch.zeros(1, 2, len(COLUMNS)), 'outlines': torch.zeros(1, 2, 40, 2, 2), 'views': torch.zeros(1, len(VIEWS)),
                                 'size': torch.ones(2, dtype=double), 'rule': torch.ones(len(NUMBERS) + 2, dtype=double)}, ({}, {2: rows}, {}, {}, {}), STATES)}


if __name__ == '__main__':
    for name, graph in graphs().items():
        (OUT/f'{name}.onnx').write_bytes(graph)
        print(name, f'{len(graph):,} bytes')
