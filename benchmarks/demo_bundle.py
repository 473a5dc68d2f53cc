"""Make anew the demonstration model that comes with the package: `heels`, trained on the shipped synthetic study.

python benchmarks/demo_bundle.py --work FOLDER

Takes about ten minutes on two cores, and replaces anklealign/demo_bundle.zip.
"""
import argparse
import shutil
from pathlib import Path

from anklealign.core import Settings
from anklealign.data import prepare
from anklealign.eval import evaluate
from anklealign.export import make_demonstration
from anklealign.rawstudy import demo_study
from anklealign.recipe import recipes
from anklealign.training import train

SHIPPED = Path(__file__).parents[1]/'anklealign'/'demo_bundle.zip'


def make(work):
    settings = Settings(output=str(work/'output'))
    study = prepare(demo_study(), work/'output', settings)
    run = train(study, work/'output/models/heels', recipes['heels'], settings.seed)
    evaluation = work/'output/evaluation/heels'
    evaluate(run, study, evaluation, settings)
    return make_demonstration(run, study, work/'demo_bundle', settings, evaluation)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work', type=Path, required=True)
    made = make(parser.parse_args().work)
    shutil.copy(made, SHIPPED)
    print(f'{SHIPPED.name}: {SHIPPED.stat().st_size/1e6:.1f} MB')
