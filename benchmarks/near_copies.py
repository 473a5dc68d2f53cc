"""Seconds to find all pairs of hashes within 10 bits: index against each-with-each, in the same run.

python benchmarks/near_copies.py [--n 10000 30000 100000] [--bits 10]
"""
import numpy as np
from common import options, timed

from anklealign.study.splits import NEAR_BITS, near_duplicates, near_pairs


def each_with_each(hashes, bits):
    "The obvious way, vectorised: one row of comparisons per hash."
    found = [np.flatnonzero(np.bitwise_count(hashes[i+1:] ^ hashes[i]) <= bits) + i + 1 for i in range(len(hashes))]
    return np.column_stack([np.repeat(np.arange(len(hashes)), [len(o) for o in found]), np.concatenate(found)])


def uniform(n, rng): return rng.integers(0, 2**64, n, dtype=np.uint64)


def clustered(n, rng, size=10, flips=3):
    "Clusters of about `size` hashes, each at most `flips` bits from its centre."
    hashes = uniform(n//size, rng)[rng.integers(0, n//size, n)]
    for _ in range(flips): hashes ^= np.uint64(1) << rng.integers(0, 64, n, dtype=np.uint64)
    return hashes


def skewed(n, rng, alike=.7):
    "Each bit is its usual value in seven hashes of ten, as where all pictures show the same kind of scene."
    bits = (rng.random((n, 64)) < alike) ^ (rng.random(64) < .5)
    return np.packbits(bits, axis=1).view('>u8').ravel().astype(np.uint64)


def descriptors(n, rng):
    "Random fingerprints with the fall-off of real pictures; one in ten repeats another one, a little changed."
    fall = 1/np.maximum(np.hypot(*np.indices((16, 16))), 1)**1.5
    x = rng.normal(size=(n, 16, 16))*fall
    x[n - n//10:] = x[:n//10] + .02*x[n - n//10:]
    x[:, 0, 0] = 0
    return (x/np.linalg.norm(x, axis=(1, 2), keepdims=True)).astype(np.float16)


def main():
    chosen = options(__doc__, n=[10_000, 30_000, 100_000], bits=NEAR_BITS)
    print(f'{"hashes":>10} {"n":>8} {"pairs":>9} {"index s":>9} {"each s":>9} {"ratio":>7}')
    for make in (uniform, clustered, skewed):
        for n in chosen.n:
            hashes = make(n, np.random.default_rng(n))
            fast, pairs = timed(near_pairs, hashes, chosen.bits)
            slow, same = timed(each_with_each, hashes, chosen.bits)
            assert np.array_equal(pairs, same), f'{make.__name__} {n}: the two ways disagree'
            print(f'{make.__name__:>10} {n:8} {len(pairs):9} {fast:9.2f} {slow:9.2f} {slow/fast:7.1f}', flush=True)
    print(f'\n{"duplicates":>10} {"n":>8} {"pairs":>9} {"s":>9}')
    for n in chosen.n:
        prints = descriptors(n, np.random.default_rng(n))
        took, pairs = timed(near_duplicates, prints)
        print(f'{"mirrored, checked":>10} {n:8} {len(pairs):9} {took:9.2f}', flush=True)


if __name__ == '__main__': main()
