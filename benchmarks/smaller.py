"""What a graph with smaller weights costs: half precision, and eight bits, against single precision, on pictures of other people.

python benchmarks/smaller.py RUN STUDY OTHER_STUDY

RUN was trained on STUDY; nobody of OTHER_STUDY is in that. Eight bits are the convolutions only, by onnxruntime's static quantisation with its
defaults, per channel, calibrated on 200 training pictures at most. One look at a picture, without the mirrored one, since the quantised graph would hold its
weights twice; one picture at a time, one thread, the three in turns.
"""
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import machine, options
from serve import in_turns

from anklealign.core import load_settings
from anklealign.evaluation.metrics import PROBABILITIES
from anklealign.study.manifest import read_manifest
from anklealign.training.dataloaders import Pixels
from anklealign.training.onnx import GRAPH, INPUT, OUTPUTS, export_run, halved
from anklealign.training.recipes import Recipe
from anklealign.training.runs import load_run, probabilities


def eight_bits(graph, examples, folder):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Examples(CalibrationDataReader):
        left = iter(examples)
        def get_next(self): return next(({INPUT: o[None]} for o in self.left), None)

    file, ready, small = (folder/f'{o}.onnx' for o in ('as_is', 'ready', 'small'))
    file.write_bytes(graph)
    quant_pre_process(file, ready, skip_symbolic_shape=True)
    quantize_static(ready, small, Examples(), quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=['Conv'])
    return small.read_bytes()


def session_of(graph):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(graph, options)


def answers(session, batches): return np.exp(np.concatenate([session.run(OUTPUTS[:1], {INPUT: o})[0] for o in batches]))


def main(run, study, other):
    config, rows, others = json.loads((run/'config.json').read_text()), read_manifest(study), read_manifest(other)
    size = config['recipe']['size']
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(shutil.copytree(run, Path(folder)/run.name))
        recipe, valid = config['recipe'] | {'mirror': False}, rows[rows.split == 'valid']
        (mine/'config.json').write_text(json.dumps(config | {'recipe': recipe}))
        once = probabilities(load_run(mine)[0], study, valid, Recipe(**recipe)) # the run holds what two looks say
        valid[['image', 'group', 'label']].assign(**dict(zip(PROBABILITIES, once.T, strict=True))).to_csv(mine/'valid_predictions.csv', index=False)
        graph = (export_run(mine, study, load_settings(env={}))/GRAPH).read_bytes()
        learned = rows[rows.split == 'train'].image
        examples = Pixels(study, learned.sample(min(200, len(learned)), random_state=1), size).store
        graphs = {'float32': graph, 'float16, computing in float32': halved(graph), 'int8, per channel': eight_bits(graph, examples, Path(folder))}
    store = Pixels(other, others.image, size).store
    pictures = [store[i:i + 32] for i in range(0, len(store), 32)]
    sessions = {name: session_of(o) for name, o in graphs.items()}
    took = in_turns(40, **{name: lambda s=s: s.run(None, {INPUT: pictures[0][:1]}) for name, s in sessions.items()})
    said = {name: answers(s, pictures) for name, s in sessions.items()}
    first = said['float32']
    lines = [f"{machine()}; {config['recipe']['name']}, {config['recipe']['model']} at {size} px; "
             f"{len(others)} synthetic pictures of {others.group.nunique()} people it has not met", '',
             f'{"weights":32}{"MB":>6}{"time":>7}{"answers changed":>18}{"accuracy":>10}{"largest change of a probability":>34}']
    for name, p in said.items():
        changed, accuracy = (p.argmax(1) != first.argmax(1)).sum(), (p.argmax(1) == others.label_id).mean()
        lines.append(f'{name:32}{len(graphs[name])/1e6:6.1f}{took[name]/took["float32"]:7.2f}{changed:>18}{accuracy:10.3f}{np.abs(p - first).max():34.4f}')
    print('\n'.join(lines))


if __name__ == '__main__':
    given = options(__doc__, 'run', 'study', 'other_study')
    main(given.run, given.study, given.other_study)
