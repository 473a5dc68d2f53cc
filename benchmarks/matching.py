"""Seconds to match n annotations to n files, against comparing each annotation with each file, in one run.

python benchmarks/matching.py [--sizes 10000 30000 100000]

Names are generated: 100 owners' folders, uploads with their prefix, accents lost, owners' codes appended, a tenth of them without a file.
The obvious way normalises and compares every file's name for every annotation; it is timed on the first 200 annotations and scaled up.
"""
import numpy as np
from common import options, timed

from anklealign.study.matching import Files, fold, match_all, without_prefix

OWNERS = [f'A{i:04}B' for i in range(100)]


def study(n, seed=1):
    "Paths, and what annotations call them: (export, refs) of each."
    rng = np.random.default_rng(seed)
    paths = [f'study/{OWNERS[i % 100]}/sajat résztvevő{i // 100:05}_{i % 7}.jpg' for i in range(n)]
    said = []
    for i in rng.permutation(n):
        owner, name = paths[i].split('/')[1:]
        name = [name, name.replace(' ', '_'), fold(name), name.replace('.jpg', f'_{owner}.jpg'), 'gone ' + name][rng.choice(5, p=[.4, .2, .2, .1, .1])]
        said.append((f'study/{owner}/export.json', (f'/data/upload/1/{i % 2**32:08x}-{name}',)))
    return paths, said


def ours(paths, said): return match_all(said, Files(paths))


def obvious(paths, said):
    "Normalise and compare all names for each annotation."
    found = []
    for export, refs in said:
        folder, name = export.rpartition('/')[0], fold(without_prefix(refs[0].rpartition('/')[2]))
        found.append([p for p in paths if p.startswith(folder + '/') and fold(p.rpartition('/')[2]) == name])
    return found


def measure(sizes):
    print(f'{"n":>8}{"seconds":>10}{"µs each":>10}{"matched":>10}{"obvious s":>12}{"ratio":>10}')
    for n in sizes:
        paths, said = study(n)
        took, matches = timed(ours, paths, said)
        theirs = timed(obvious, paths, said[:200])[0] / 200 * n
        print(f'{n:8}{took:10.2f}{took / n * 1e6:10.1f}{sum(bool(m.path) for m in matches):10}{theirs:12.0f}{theirs / took:10.0f}', flush=True)


if __name__ == '__main__':
    measure(**vars(options(__doc__, sizes=[10_000, 30_000, 100_000])))
