"""What the scripts of this folder share: options, where and when something was measured, how long it took, and keeping what is printed."""
import argparse
import io
import os
import platform
import time
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parents[1]/'anklealign'/'results'
HIDDEN = argparse.SUPPRESS # as the help of an option that only the script itself gives


def options(doc, *places, **named):
    """What the command line says: paths, then options with their defaults. A list takes several values, False is a switch, a type has no default and
    must be given; whatever else is needed is said in a dictionary, as argparse has it, for what is no path beside its name."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, how in ((o, dict(type=Path)) if isinstance(o, str) else o for o in places): parser.add_argument(name, **how)
    for name, o in named.items():
        how = (o if isinstance(o, dict) else dict(action='store_true') if o is False else dict(type=o, required=True) if isinstance(o, type) else
               dict(type=type(o[0]), nargs='+', default=o) if isinstance(o, list) else dict(type=type(o), default=o))
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    return parser.parse_args()


def machine(): return f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {date.today()}'


def busy(): return f'{date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before'


def timed(work, *args, clock=time.perf_counter):
    "Seconds that some work takes, and what it gives."
    start = clock()
    found = work(*args)
    return clock() - start, found


def saved(im, kind='JPEG', **how):
    "A picture as the bytes of a file."
    out = io.BytesIO()
    im.save(out, kind, **how)
    return out.getvalue()


def interval(o): return f'{o.value:.3f} ({o.low:.3f}-{o.high:.3f})'


def gain(o): return f'{o.value:+.3f} ({o.low:+.3f} to {o.high:+.3f})'


def keep(name, lines):
    "Print lines, and keep them among the results."
    text = '\n'.join(lines)
    (RESULTS/f'{name}.txt').write_text(text + '\n')
    print(text)
