"""Pronation, neutral or supination: rear-foot alignment from a photograph of the heels.

    from anklealign import Predictor, demo_study, evaluate, prepare, recipes, train
    study = prepare(demo_study(), 'output') # or a raw folder or .zip of yours, as it is
    run = train(study, 'output/models/baseline', recipes['baseline']) # a minute or two
    report = evaluate(run, study, 'output/evaluation/baseline')
    answer = Predictor()(next((study/'images').iterdir())) # from the demonstration model
"""

__version__ = "0.1.0"

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .data import prepare
    from .deploy import Answer, Predictor
    from .eval import compare, evaluate
    from .storage import demo_study
    from .study.manifest import read_manifest
    from .training.recipes import recipes
    from .training.train import dataloaders, learner, train

__all__ = ['Answer', 'Predictor', 'compare', 'dataloaders', 'demo_study', 'evaluate', 'learner', 'prepare', 'read_manifest', 'recipes', 'train']

_HOME = { # name → module
    'prepare': 'data', 'Predictor': 'deploy', 'compare': 'eval', 'evaluate': 'eval', 'Answer': 'deploy',
    'read_manifest': 'study.manifest', 'recipes': 'training.recipes', 'dataloaders': 'training.train', 'learner': 'training.train',
    'train': 'training.train', 'demo_study': 'storage',
}

os.environ['ORT_DISABLE_TELEMETRY'] = '1' # from 1.29 on, onnxruntime reports to its maker when it is imported, unless told before


def __getattr__(name):
    "The names above, each imported when it is first asked for."
    if name not in _HOME: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    globals()[name] = value = getattr(import_module(f'.{_HOME[name]}', __name__), name)
    return value


def __dir__(): return sorted({*globals(), *__all__})
