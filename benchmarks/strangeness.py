"""What a bundle takes for no foot, or for a wrong view: false alarms on the feet of other people, and what it notices of the rest.

python benchmarks/strangeness.py BUNDLE OTHER_STUDY [--n 200]

BUNDLE is a bundle or run folder, OTHER_STUDY a study folder whose people it has not seen. Everything is synthetic but the crops of the two
photos that come with scikit-learn.
"""
import numpy as np
from common import options
from PIL import Image
from sklearn.datasets import load_sample_images

from anklealign.deploy import Predictor
from anklealign.phantom.body import draw_person
from anklealign.phantom.picture import VIEWS, make_picture
from anklealign.study.manifest import read_manifest


def noise(rng, n):
    grains = {'white noise': 256, 'smooth noise': 8}
    made = {name: [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((256, 256), Image.Resampling.BICUBIC) for _ in range(n)]
            for name, side in grains.items()}
    ramp = np.linspace(0, 40, 256).astype(np.uint8)
    made['colour ramp'] = [Image.fromarray(np.tile((ramp[:, None] + rng.integers(0, 200, 3)).astype(np.uint8)[:, None], (1, 256, 1))) for _ in range(n)]
    return made


def crops(rng, n):
    photos, made = [Image.fromarray(o) for o in load_sample_images().images], []
    for i in range(n):
        photo, side = photos[i % len(photos)], int(rng.integers(150, 420))
        x, y = (int(rng.integers(0, o - side)) for o in photo.size)
        made.append(photo.crop((x, y, x + side, y + side)))
    return made


def wrong_sides(n):
    "Phantoms in the views that are to be refused."
    makers = {view: [np.random.default_rng([5, i]) for i in range(n)] for view in VIEWS if view != 'behind'}
    return {f'phantoms, {view}': [make_picture(draw_person(o), dict(left=4., right=4.), view, (320, 320), o).image for o in rngs]
            for view, rngs in makers.items()}


def measure(bundle, study, n):
    predictor, rng = Predictor(bundle), np.random.default_rng(1)
    feet = [Image.open(study/'images'/o) for o in read_manifest(study).image[:n]]
    sets = {'feet of other people': feet, **noise(rng, n), 'scenes (2 photos)': crops(rng, n),
            'upside down': [o.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for o in feet], 'quarter turn': [o.transpose(Image.Transpose.ROTATE_90) for o in feet]}
    sets |= wrong_sides(min(n, 40))
    about = predictor.about
    print(f'{about.name}, {about.recipe["model"]} at {about.preprocessing.model_size} px; typical of {about.strangeness.learned_from} training pictures, '
          f'threshold from {about.strangeness.images} validation pictures')
    print(f'{"":24}{"n":>6}{"strange":>10}{"median":>10}')
    for name, pictures in sets.items():
        found = np.array([o.ood_score for i in range(0, len(pictures), 16) for o in predictor.batch(pictures[i:i + 16])])
        print(f'{name:24}{len(found):6}{np.mean(found > 1):10.2f}{np.median(found):10.2f}', flush=True)


if __name__ == '__main__':
    measure(**vars(options(__doc__, 'bundle', 'study', n=200)))
