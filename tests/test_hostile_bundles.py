"""Bundles that somebody made to do harm: each is refused in one sentence, before its graph is run and without much memory."""
import json
import os
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from importlib.resources import files

import onnx
import pytest
from conftest import picture
from onnx import TensorProto, helper

from anklealign.core import AnklealignError
from anklealign.deploy import Predictor
from anklealign.inference.bundle import GRAPH, MARK, file_entry, read_bundle

OURS = zipfile.ZipFile(files('anklealign')/'demo_bundle.zip')
ABOUT, MODEL = json.loads(OURS.read(MARK)), onnx.load_from_string(OURS.read(GRAPH))


def bundle(place, graph=None, files=None, **about):
    "The demonstration bundle with another graph, or other claims."
    graph = OURS.read(GRAPH) if graph is None else graph
    said = ABOUT | {'files': {GRAPH: file_entry(graph)} | (files or {})} | about
    place.mkdir()
    (place/GRAPH).write_bytes(graph)
    (place/MARK).write_text(json.dumps(said))
    return place


def with_external_data(model):
    tensor = next(o for o in model.graph.initializer if o.data_type == TensorProto.FLOAT16 and len(o.raw_data) > 64)
    length = len(tensor.raw_data)
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    for k, v in {'location': 'settings.ini', 'offset': '0', 'length': str(length)}.items(): tensor.external_data.add(key=k, value=v)


def with_hidden_data(model):
    value = next(o for o in model.graph.initializer if o.data_type == TensorProto.FLOAT16)
    constant = helper.make_node('Constant', [], ['secret'], value=value)
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key='location', value='settings.ini')
    model.graph.node.append(constant)


def with_branch(model):
    graph = helper.make_graph([], 'inner', [], [])
    model.graph.node.append(helper.make_node('If', ['pixels'], ['x'], then_branch=graph, else_branch=graph))


def with_operator(op, domain=''):
    def change(model): model.graph.node.append(helper.make_node(op, ['pixels'], ['x'], domain=domain))
    return change


def with_function(model):
    model.functions.append(helper.make_function('', 'Relu', ['a'], ['b'], [helper.make_node('Abs', ['a'], ['b'])], [helper.make_opsetid('', 20)]))


def with_claims(model):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([2**20, 2**20])


def with_more_input(model): model.graph.input.append(helper.make_tensor_value_info('more', TensorProto.FLOAT, [1]))


def with_other_side(model): model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**20


HOSTILE = {'data in other files': (with_external_data, with_hidden_data), 'graphs within the graph': (with_branch,), 'functions': (with_function,),
           'needs': (with_operator('EPContext', 'com.microsoft'), with_operator('RandomUniform'), with_operator('SequenceEmpty')),
           'more numbers than it holds': (with_claims,), 'pictures of 576': (with_more_input, with_other_side)}


@pytest.mark.parametrize('reason, change', [(k, o) for k, several in HOSTILE.items() for o in several])
def test_a_graph_that_could_do_more_than_compute_is_refused(tmp_path, monkeypatch, reason, change):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'settings.ini').write_bytes(b'[serve]\napi_key = hunter2\n'.ljust(2**22))
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    change(model)
    with pytest.raises(AnklealignError, match=reason) as e: Predictor(bundle(tmp_path/'hostile', model.SerializeToString()))
    assert str(e.value).count('\n') == 0


def test_the_shipped_graph_is_run(tmp_path): assert Predictor(bundle(tmp_path/'ours'))(picture(1)).model


def test_onnx_is_not_needed_for_an_answer(tmp_path, ankle):
    (tmp_path/'a.jpg').write_bytes(picture(1))
    code = f"import sys; from anklealign.deploy import Predictor; Predictor()(r'{tmp_path/'a.jpg'}'); print('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == 'False\n'


def zipped(place, members, **about):
    "An archive of the demonstration bundle with other files, claimed as they are."
    with zipfile.ZipFile(place, 'w', zipfile.ZIP_DEFLATED) as archive:
        claims = {}
        for name, size in members.items():
            with archive.open(name, 'w', force_zip64=True) as f:
                for _ in range(size >> 20): f.write(bytes(2**20))
            claims[name] = {'sha256': '0'*64, 'bytes': size}
        archive.writestr(MARK, json.dumps(ABOUT | {'files': claims} | about))
    return place


@pytest.mark.parametrize('members', [{GRAPH: 300 << 20}, {GRAPH: 2 << 20, 'model.safetensors': 300 << 20}, {GRAPH: 600 << 20},
                                     {GRAPH: 1 << 20} | {f'{i}.bin': 1 << 20 for i in range(40)}])
def test_an_archive_that_unpacks_to_much_is_refused_before_it_does(tmp_path, members):
    place = zipped(tmp_path/'bomb.zip', members)
    tracemalloc.start()
    try:
        with pytest.raises(AnklealignError, match='is not a usable bundle'): read_bundle(place)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally: tracemalloc.stop()


def heels(**values): return {'heels': ABOUT['heels'] | values}


def changed(**values): return {'thresholds': ABOUT['thresholds'] | values}


NAN = float('nan')
ABSURD = {'thresholds.coverage': changed(coverage=55), 'thresholds.temperature': changed(temperature=1e-300), 'thresholds.abstain_below': changed(abstain_below=NAN),
          'thresholds.sharpening': changed(sharpening=1e9), 'strangeness.threshold': {'strangeness': ABOUT['strangeness'] | {'threshold': float('inf')}},
          'strangeness.share': {'strangeness': ABOUT['strangeness'] | {'share': 55}},
          'heels.interval': heels(interval=1e9), 'heels.least_pixels': heels(least_pixels=1e9), 'heels.widest_deg': heels(widest_deg=1e9), 'heels.turned_deg': heels(turned_deg=-1),
          'heels.found': heels(found=55), 'heels.cutoffs': heels(cutoffs=[6, 0]), 'heels.cutoffs.1': heels(cutoffs=[0, 1e9]),
          'preprocessing.max_megapixels': {'preprocessing': ABOUT['preprocessing'] | {'max_megapixels': 1e9}},
          'verified.largest_difference': {'verified': {'largest_difference': NAN}}, 'figures.metrics.accuracy': {'figures': {'metrics': {'accuracy': NAN}}}}


@pytest.mark.parametrize('key', ABSURD)
def test_absurd_figures_are_refused_by_name(tmp_path, key):
    with pytest.raises(AnklealignError, match=f'{key} in its bundle.json is wrong') as e: read_bundle(bundle(tmp_path/'absurd', **ABSURD[key]))
    assert str(e.value).count('\n') == 0


@pytest.mark.parametrize('name', [MARK, GRAPH, 'bundle.zip'])
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path, name):
    made = bundle(tmp_path/'pipe')
    (made/name).unlink(missing_ok=True)
    os.mkfifo(made/name)
    with pytest.raises(AnklealignError, match='no ordinary file'): read_bundle(made/name if name == 'bundle.zip' else made)


def test_json_of_any_depth_is_one_sentence(tmp_path):
    made = bundle(tmp_path/'deep')
    (made/MARK).write_text('['*10**6)
    with pytest.raises(AnklealignError, match='is not JSON'): read_bundle(made)


def greedy(constant, rows=3000):
    "A few bytes that ask for 24 GB: a sum over one number, repeated."
    def change(model):
        ours, wide = model.graph.output[0].name, 'one' if constant else 'bright'
        for o in model.graph.node: o.output[:] = ['kept' if k == ours else k for k in o.output]
        model.graph.initializer.extend([helper.make_tensor('one', TensorProto.FLOAT, [1], [1.]), helper.make_tensor('shape', TensorProto.INT64, [2], [rows, 2**21])])
        made = [('Cast', ['pixels'], 'numbers', {'to': TensorProto.FLOAT}), ('ReduceMax', ['numbers'], 'bright', {'keepdims': 0}), ('Expand', [wide, 'shape'], 'wide', {}),
                ('Neg', ['wide'], 'less', {}), ('ReduceMax', ['less'], 'sum', {'keepdims': 0}), ('Add', ['kept', 'sum'], ours, {})]
        model.graph.node.extend(helper.make_node(op, sent, [given], **more) for op, sent, given, more in made)
    return change


@pytest.mark.parametrize('constant', [False, True], ids=['while it runs', 'while it loads'])
def test_a_graph_that_asks_for_gigabytes_is_refused(tmp_path, constant):
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    greedy(constant)(model)
    place, used = bundle(tmp_path/'greedy', model.SerializeToString()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AnklealignError, match='takes gigabytes of memory') as e: Predictor(place)
    assert str(e.value).count('\n') == 0 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 1.5e6
    assert Predictor()(picture(1)).model # and the next one is run


def test_a_graph_that_takes_minutes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr('anklealign.inference.bundle._SECONDS', .001)
    with pytest.raises(AnklealignError, match='cannot be run'): Predictor(bundle(tmp_path/'slow'))
