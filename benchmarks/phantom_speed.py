"""Phantoms drawn a second: one process against all cores, same pictures; and how long a fresh process takes for its first one.

python benchmarks/phantom_speed.py [N] [SIZE]"""
import os
import platform
import subprocess
import sys

from common import timed

from anklealign.phantom.picture import make_phantoms

FIRST = 'from anklealign.phantom.picture import make_phantoms; make_phantoms(1, 1, {size}, 1)'


def measure(n: int, size: int, workers: int) -> tuple[float, list[bytes]]:
    took, phantoms = timed(make_phantoms, n, 1, size, workers)
    return n/took, [o.image.tobytes() for o in phantoms]


def main():
    n, size = (int(o) for o in (sys.argv[1:] + ['400', '320'][len(sys.argv) - 1:]))
    cores = os.cpu_count() or 1
    first, _ = timed(lambda: subprocess.run([sys.executable, '-c', FIRST.format(size=size)], check=True))
    one, pictures = measure(n, size, 1)
    every, same = measure(n, size, cores)
    assert pictures == same, 'the number of processes changed the pictures'
    print(f'{n} phantoms of {size} px; {platform.machine()}, {cores} cores, Python {platform.python_version()}; times include starting the processes')
    print(f'the first one of a fresh process, imports included: {first:.1f} s')
    print(f'{"workers":>8} {"images/s":>9} {"ratio":>6}\n{1:>8} {one:>9.1f} {1:>6.2f}\n{cores:>8} {every:>9.1f} {every/one:>6.2f}')


if __name__ == '__main__':
    main()
