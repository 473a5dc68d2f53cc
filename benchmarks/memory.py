"""Memory of a training and of an evaluation, beside a plain loop in PyTorch that does the same, and how it grows with the pictures.

python benchmarks/memory.py [--pictures 400 2000] [--recipes baseline gapcnn measured] [--out memory]   goes on where it was stopped;
`--show` prints what is known

The plain loop is what a script without this package would be: a `Dataset` that opens each picture, the same network, batch, optimiser and number of
passes, single precision, the weights of the best epoch; then the answers to the test pictures, scikit-learn's figures and a confusion matrix as a
picture. Ours are the commands, with everything that they leave: `train` with its bundle, `evaluate` with the shipped model, robustness, heat maps and
report (`in_full`). One epoch, as memory does not depend on how many. Each is a process of its own; memory is the peak of what it and its children have
in memory (resident), every 50 ms, shared pages counted once a process. The pictures are synthetic: those of the study that ships with the package,
repeated under new names, every repetition with people of its own. `anklealign/results/memory.txt` keeps what is printed.
"""
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from common import HIDDEN, options

RECIPES, DOES, SIDES = ('baseline', 'gapcnn', 'measured'), ('train', 'evaluate'), ('plain', 'ours')


def study_of(pictures, place):
    "A prepared study of so many pictures, hard links of those of the demonstration."
    import pandas as pd

    from anklealign.core import Settings
    from anklealign.data import prepare
    from anklealign.storage import demo_study
    from anklealign.study.manifest import read_manifest
    study = place/f'{pictures}'/'processed'
    if (study/'ready').exists(): return study
    once = prepare(demo_study(), place/'once', Settings(output=str(place/'once')))
    known = read_manifest(once)
    rows = pd.concat([known.assign(image=[f'{i}-{o}' for o in known.image], group=[f'{i}-{o}' for o in known.group])
                      for i in range(-(-pictures//len(known)))]).iloc[:pictures]
    shutil.rmtree(study, ignore_errors=True)
    (study/'images').mkdir(parents=True)
    for name in rows.image: os.link(once/'images'/name.partition('-')[2], study/'images'/name)
    shutil.copy(once/'report.json', study)
    rows.to_csv(study/'metadata.csv', index=False)
    (study/'ready').touch()
    return study


def network(recipe):
    "The same as the recipe's, of PyTorch's parts; the measuring one is too large to be written down again."
    from torch import nn
    if recipe == 'measured':
        from anklealign.training.heel_nets import MeasuredHeels
        return MeasuredHeels()
    if recipe == 'baseline':
        return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
                             nn.Flatten(), nn.Linear(32*56*56, 128), nn.ReLU(), nn.Dropout(.2), nn.Linear(128, 3))
    layers, inputs = [], 3
    for outputs in (32, 64, 128, 256, 256):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.MaxPool2d(2), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers[:-2], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(.25), nn.Linear(256, 3))


def plain(does, recipe, study, weights):
    "The plain loop."
    import pandas as pd
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2 as tv
    rows, size = pd.read_csv(study/'metadata.csv'), 384 if recipe == 'measured' else 224
    change = [tv.RandomResizedCrop(size, (.85, 1), (.9, 1.1)), tv.ColorJitter(.15, .15)] if recipe == 'gapcnn' and does == 'train' else [tv.Resize((size, size))]
    look = tv.Compose([*change, tv.ToImage(), tv.ToDtype(torch.float32, scale=True)])

    class Pictures(Dataset):
        def __init__(self, split): self.rows = rows[rows.split == split]
        def __len__(self): return len(self.rows)
        def __getitem__(self, i):
            with Image.open(study/'images'/self.rows.image.iloc[i]) as o: return look(o.convert('RGB')), int(self.rows.label_id.iloc[i])

    model, batch = network(recipe), 32 if recipe == 'measured' else 16
    if does == 'evaluate':
        model.load_state_dict(torch.load(weights, weights_only=True))
        return figures(model.eval(), DataLoader(Pictures('test'), batch), weights.parent)
    loss, optimiser = torch.nn.CrossEntropyLoss(), torch.optim.AdamW([o for o in model.parameters() if o.requires_grad], 1e-3)
    for x, y in DataLoader(Pictures('train'), batch, shuffle=True):
        optimiser.zero_grad()
        loss(model(x), y).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad(): right = [(model(x).argmax(1) == y).float().mean() for x, y in DataLoader(Pictures('valid'), batch)]
    torch.save({k: v.clone() for k, v in model.state_dict().items()}, weights)
    print(f'valid accuracy {sum(right)/len(right):.3f}')


def figures(model, loader, folder):
    "What the replaced systems left of an evaluation."
    import matplotlib
    import torch
    from sklearn.metrics import classification_report, confusion_matrix
    matplotlib.use('agg')
    import matplotlib.pyplot as plt
    with torch.no_grad(): said, true = map(torch.cat, zip(*((model(x).argmax(1), y) for x, y in loader), strict=True))
    (folder/'report.txt').write_text(classification_report(true, said, zero_division=0))
    plt.imshow(confusion_matrix(true, said))
    plt.savefig(folder/'confusion_matrix.png')


def ours(does, recipe, study):
    "What the command does."
    from anklealign.core import Settings
    home = study.parent
    chosen = Settings(output=str(home), train=dict(recipe=recipe, epochs=1))
    if does == 'train':
        from anklealign.app.cli import _train
        return _train(chosen, recipe)
    from anklealign.eval import evaluate
    evaluate(home/'models'/recipe, study, home/'evaluation'/recipe, chosen, in_full=True)


def resident(pid):
    "MB in memory of a process and its children: its own, and of files."
    found, todo = [0, 0], [pid]
    while todo:
        one = Path(f'/proc/{todo.pop()}')
        try:
            lines = dict(o.split(':', 1) for o in (one/'status').read_text().splitlines())
            todo += [int(k) for o in one.glob('task/*/children') for k in o.read_text().split()]
        except OSError: continue
        found = [a + int(lines.get(k, '0').split()[0])/1e3 for a, k in zip(found, ('RssAnon', 'RssFile'), strict=True)]
    return found


def watched(pause, command, **how):
    "Exit code of a process, its seconds by the clock and of processors, and the peak of `resident`."
    before, start, child, peak = getrusage(RUSAGE_CHILDREN), time.perf_counter(), subprocess.Popen(command, **how), [0, 0]
    while child.poll() is None:
        peak = max(peak, resident(child.pid), key=sum)
        time.sleep(pause)
    used = getrusage(RUSAGE_CHILDREN)
    return child.returncode, time.perf_counter() - start, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, peak


def measure(pictures, does, recipe, side, place):
    "Run it in a process of its own."
    study_of(pictures, place)
    command = [sys.executable, __file__, '--one', str(pictures), does, recipe, side, str(place)]
    code, seconds, cpu, (own, files) = watched(.05, command, stdout=subprocess.DEVNULL)
    if code: raise SystemExit(f'{does} {recipe} {side}: exit code {code}')
    return dict(pictures=pictures, does=does, recipe=recipe, side=side, own=round(own), files=round(files), seconds=round(seconds, 1), cpu=round(cpu, 1),
                date=str(date.today()))


def show(rows):
    import pandas as pd
    table = pd.DataFrame(rows).assign(peak=lambda o: o.own + o['files'])
    print(f'Peak memory (resident, MB) against a plain loop; synthetic pictures; {os.cpu_count()} cores, shared; {platform.machine()}, Python '
          f'{platform.python_version()}, {" to ".join(sorted({table.date.min(), table.date.max()}))}; one process each\n')
    print(f'{"":22}{"pictures":>9}{"plain":>8}{"ours":>8}{"ratio":>7}{"own memory: plain":>19}{"ours":>7}{"processor, s: plain":>21}{"ours":>7}')
    for (does, recipe, n), part in table.groupby(['does', 'recipe', 'pictures'], sort=False):
        one = {o.side: o for o in part.itertuples()}
        if {*one} != {*SIDES}: continue
        a, b = one['plain'], one['ours']
        print(f'{does:9} {recipe:12}{n:>9}{a.peak:>8}{b.peak:>8}{b.peak/a.peak:>7.2f}{a.own:>19}{b.own:>7}{a.cpu:>21.0f}{b.cpu:>7.0f}')


if __name__ == '__main__':
    given = options(__doc__, pictures=[400, 2000], recipes=dict(nargs='+', default=RECIPES, choices=RECIPES), out=Path('memory'), show=False,
                    one=dict(nargs=5, help=HIDDEN))
    if given.one:
        n, does, recipe, side, place = given.one
        study = Path(place)/n/'processed'
        if side == 'ours': ours(does, recipe, study)
        else: plain(does, recipe, study, study.parent/f'plain_{recipe}.pt')
        raise SystemExit
    given.out.mkdir(exist_ok=True)
    file, place = given.out/'memory.jsonl', given.out.resolve()/'studies'
    rows = [json.loads(o) for o in file.read_text().splitlines()] if file.exists() else []
    for key in [] if given.show else [(n, does, o, side) for n in given.pictures for o in given.recipes for does in DOES for side in SIDES]:
        if key in {(o['pictures'], o['does'], o['recipe'], o['side']) for o in rows}: continue
        rows.append(measure(*key, place))
        with file.open('a') as f: f.write(json.dumps(rows[-1]) + '\n')
    show(rows)
