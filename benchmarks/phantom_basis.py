"""Legs of many people as one small linear basis, so that nobody waits for the body model; writes `anklealign/phantom/legs.npz`.

python benchmarks/phantom_basis.py

Needs `pip install anny` (0.6; code under Apache-2.0, data CC0), which nothing else does, and takes two minutes. Another version of it, or other
people, make other legs, and so other phantoms for the same seed: do not run this without a reason.
"""
import sys
from pathlib import Path

import numpy as np

PEOPLE, RANK = 600, 20 # legs drawn from the body model; directions kept
BASIS = Path(__file__).parents[1]/'anklealign'/'phantom'/'legs.npz'


def draw_builds(n: int, seed: int=1) -> dict[str, np.ndarray]: # of `anny`: gender, age, muscle, weight, height, proportions, each (n,)
    "Builds of people from school age to old age."
    rng = np.random.default_rng(seed)
    same = {k: rng.random(n) for k in ('gender', 'muscle', 'height', 'proportions')}
    return same | dict(age=.3 + .65*rng.beta(2.2, 1.6, n), weight=rng.beta(2, 2, n))


def body_corners(builds): # (n, corners, 3) in metres, z up, soles at 0; (m, 3) triangles
    "Standing bodies of `anny`, which takes a minute or two to read its 624 targets."
    import anny
    import torch
    model = anny.Anny(phenotype_blendshapes='original', skinning_method='lbs')
    def corners(one):
        pose = torch.eye(4, dtype=torch.float64).repeat(1, model.bone_count, 1, 1)
        out = model(pose_parameters=pose, phenotype_kwargs=one)['vertices'][0].detach().numpy()
        return out - [0, 0, out[:, 2].min()]
    n = len(builds['age'])
    return np.stack([corners({k: float(v[i]) for k, v in builds.items()}) for i in range(n)]), model.get_triangular_faces().numpy()


def left_leg(corners, triangles): # the corners used; triangles among them
    "The part of a middling body that is kept: the left leg up to mid-thigh."
    x, z = corners[triangles][..., 0], corners[triangles][..., 2]
    keep = ((z < .42*corners[:, 2].max()) & (x > 0) & (x < .3)).all(1)
    used, faces = np.unique(triangles[keep], return_inverse=True)
    return used, faces.reshape(-1, 3)


def write_basis() -> None:
    "Draw people, take their legs, keep mean, main directions and the people's places along them."
    print('reading the body model (one to two minutes, once) …', file=sys.stderr)
    corners, triangles = body_corners(draw_builds(PEOPLE))
    used, faces = left_leg(corners.mean(0), triangles)
    legs = corners[:, used].reshape(PEOPLE, -1)
    mean = legs.mean(0)
    _, _, directions = np.linalg.svd(legs - mean, full_matrices=False)
    places = (legs - mean) @ directions[:RANK].T
    error = np.abs(places @ directions[:RANK] + mean - legs).max()
    print(f'{len(used)} corners, {len(faces)} triangles, worst error {1000*error:.2f} mm', file=sys.stderr)
    np.savez_compressed(BASIS, mean=mean.reshape(-1, 3).astype('f4'), directions=directions[:RANK].reshape(RANK, -1, 3).astype('f2'),
                        places=places.astype('f4'), faces=faces.astype('u2'))


if __name__ == '__main__': write_basis()
