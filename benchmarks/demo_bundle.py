"""Make the demonstration model of the package anew, `measured` on a generated study of 300 people, and ask it about other people.

python benchmarks/demo_bundle.py --work FOLDER [--table]

Replaces anklealign/demo_bundle.zip, then asks it about the 965 phantoms (synthetic pictures) of other people that `recipes.py` tests on.
Takes about twenty minutes, most of it for drawing phantoms that FOLDER does not have. `--table` asks the bundle that is there.
"""
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import interval, keep, machine, options
from recipes import made

from anklealign.core import CLASSES, Settings
from anklealign.data import prepare
from anklealign.decision import class_of_angle
from anklealign.deploy import Predictor
from anklealign.eval import evaluate
from anklealign.evaluation.metrics import score
from anklealign.inference.bundle import pack
from anklealign.phantom.picture import make_phantoms
from anklealign.phantom.study import write_study
from anklealign.training.onnx import export_run
from anklealign.training.recipes import recipes
from anklealign.training.train import train

PICTURES, SEED, SIDE = 1200, 31, 576 # four of a person; pixels of the squares that the model looks at, finer than the pictures drawn here
SHIPPED = Path(__file__).parents[1]/'anklealign'/'demo_bundle.zip'


def make(work):
    settings = Settings(output=str(work/'output'), images=dict(size=SIDE), split=dict(train=.3, valid=.55, test=.15), # most people set the thresholds
                        evaluate=dict(robustness=20))
    if not (work/'raw').exists(): write_study(work/'raw', make_phantoms(PICTURES, SEED, 384), SEED, 'owners', defects=())
    study = prepare(work/'raw', work/'output', settings)
    run = train(study, work/'output/models/measured', replace(recipes['measured'], size=SIDE), settings.seed)
    evaluation = work/'output/evaluation/measured'
    evaluate(run, study, evaluation, settings)
    export_run(run, study, settings, half=True, demonstration=True) # the run has seen synthetic pictures only
    return Path(f"{pack(run, work/'demo_bundle', evaluation, weights=False)}.zip")


def report(study, rows):
    predictor = Predictor(SHIPPED)
    answers = [predictor(study/'images'/o) for o in rows.image]
    predicted = np.array([CLASSES.index(o.most_probable or 'neutral') for o in answers])
    rng = np.random.default_rng(1)
    answers_of = {'demonstration model': predicted, 'always neutral': np.ones(len(rows), int), 'exact angle (ceiling)': class_of_angle(rows.angle_deg)}
    answers_of |= {f'angle off by {o:g}° (SD)': class_of_angle(rows.angle_deg + rng.normal(0, o, len(rows))) for o in (.5, 1, 1.5, 2)}
    lines = [f'the demonstration model, asked about {len(rows)} synthetic pictures (phantoms) of {rows.group.nunique()} people whom it has not met; 95 % intervals over people;',
             f'no answer to {sum(not o.answer for o in answers)} of them, which count by their probabilities, or as neutral without any; {machine()}', '',
             f'{"":24}{"accuracy":>22}{"macro-F1":>22}']
    for name, said in answers_of.items():
        scores = score(rows.label_id, said, rows.group, 1)
        lines.append(f'{name:24}' + ''.join(f'{interval(o):>22}' for o in (scores.loc['accuracy'], scores.loc['macro_f1'])))
    keep('demo_bundle', lines)


if __name__ == '__main__':
    args = options(__doc__, work=Path, table=False)
    if not args.table:
        shutil.copy(make(args.work/'demonstration'), SHIPPED)
        print(f'{SHIPPED.name}: {SHIPPED.stat().st_size/1e6:.1f} MB')
    report(*made(args.work/'recipes'))
