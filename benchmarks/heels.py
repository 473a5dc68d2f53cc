"""How well heels are found and measured: on synthetic pictures of people and rooms not met in training, and on real photographs if there are any.

python benchmarks/heels.py FOLDER [--real PHOTOGRAPHS] [--model BUNDLE] [--share 1.]

FOLDER gets the synthetic pictures (twenty minutes on two cores; later runs use them again). PHOTOGRAPHS holds pictures of heels with two
markers each and a table markers.csv (file, person, side, upper_x, upper_y, lower_x, lower_y, marker_angle_deg); the markers are painted
over before anything looks at them. What is measured is a bundle as it ships. `anklealign/results/heels.txt` keeps what is printed.
"""
import datetime
import json
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from common import keep, options
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from anklealign.deploy import Predictor
from anklealign.heels.feet import SIDES, heel_offset
from anklealign.phantom.picture import write_pictures

SETS = dict(bare=(1000, 2), covered=(300, 1), refuse=(500, 1)) # pictures, and how many of each person
ASPECTS = (.75, 1., 16/9, 2.3)

def over_people(people, of, rounds=1000):
    "A figure and its 95 % interval over people: `of` takes the positions of a sample."
    people = np.asarray(people)
    at = {p: np.flatnonzero(people == p) for p in np.unique(people)}
    rng, names = np.random.default_rng(1), list(at)
    drawn = [of(np.concatenate([at[names[i]] for i in rng.integers(len(names), size=len(names))])) for _ in range(rounds)]
    return of(np.arange(len(people))), *np.nanquantile(drawn, [.025, .975])

def told(people, of, form='{:.2f}'): return '{} ({} to {})'.format(*map(form.format, over_people(people, of)))

def answered(predictor, files):
    "Answers, sixteen at a time."
    for i in range(0, len(files), 16): yield from predictor.batch(files[i:i + 16])

def truth_of(folder): return sorted(map(json.loads, (folder/'truth.jsonl').read_text().splitlines()), key=lambda r: r['name'])

def overlap(mask, side, foot):
    "Intersection over union of a foot's outline and the heel in the truth; None without an outline."
    if foot is None or not foot.outline: return None
    true = np.asarray(Image.open(mask)) == 1 + SIDES.index(side)
    ImageDraw.Draw(said := Image.new('1', true.shape[::-1])).polygon(foot.outline, fill=1)
    return (true & np.asarray(said)).sum()/max(1, (true | np.asarray(said)).sum())

def feet_table(folder, predictor, rows):
    "A row for each foot that a clinician could measure: truth beside what was said."
    found = []
    for r, a in zip(rows, answered(predictor, [folder/r['name'] for r in rows]), strict=True):
        said = {o.side: o for o in a.feet}
        found += [dict(picture=r['name'], person=r['person'], side=f['side'], true=f['angle_deg'], footwear=f['footwear'], yaw=f['yaw_deg'],
                       feet=len(r['feet']), found=f['side'] in said, reasons=bool(a.reasons), middle=(f['box'][0] + f['box'][2])/2,
                       true_offset=float(heel_offset(*(f[k] for k in ('contact', 'leg_upper', 'leg_lower')), f['side'])),
                  offset=getattr(said.get(f['side']), 'offset', None), overlap=overlap(folder/r['mask'], f['side'], said.get(f['side'])),
                  said=getattr(said.get(f['side']), 'angle_deg', None), low=getattr(said.get(f['side']), 'low_deg', None),
                       high=getattr(said.get(f['side']), 'high_deg', None), box=getattr(said.get(f['side']), 'box', None),
                       width=f['box'][2] - f['box'][0], any=len(said))
                  for f in r['feet'] if f['visible'] > .5 and f['in_picture'] > .9 and abs(f['yaw_deg']) < 40]
    out = pd.DataFrame(found)
    near = [b is not None and abs((b[0] + b[2])/2 - m) < w/2 for b, m, w in zip(out.box, out.middle, out.width, strict=True)]
    return out.assign(right=out.found & np.array(near))

def angles(rows):
    "Figures of the angle, with intervals over people."
    off, who = (rows.said - rows.true).to_numpy(float), rows.person
    inside = ((rows.low <= rows.true) & (rows.true <= rows.high)).to_numpy(float)
    return {'MAE, degrees': told(who, lambda i: abs(off[i]).mean()), 'bias, degrees': told(who, lambda i: off[i].mean(), '{:+.2f}'),
            '95 % limits, ± degrees': told(who, lambda i: 1.96*off[i].std()), '90 % intervals that hold it': told(who, lambda i: inside[i].mean()),
            'always the median, MAE': f'{abs(rows.true - rows.true.median()).mean():.2f}',
            'rank correlation': told(who, lambda i: spearmanr(rows.said.to_numpy(float)[i], rows.true.to_numpy()[i]).statistic)}

def reframed(image, aspect):
    "The whole picture in another shape, its edges repeated."
    w, h = image.size
    width, height = (round(h*aspect), h) if aspect > w/h else (w, round(w/aspect))
    x, y = (width - w)//2, (height - h)//2
    return Image.fromarray(np.pad(np.asarray(image), [(y, height - h - y), (x, width - w - x), (0, 0)], mode='edge'))

def bare(folder, predictor):
    "Figures on bare feet seen from behind."
    rows = truth_of(folder)
    feet = feet_table(folder, predictor, rows)
    measured = feet[feet.said.notna()]
    n = f'{len(feet)} feet of {feet.person.nunique()} people'
    out = {'': n, 'found on the right side': told(feet.person, lambda i: feet.right.to_numpy()[i].mean(), '{:.3f}'),
           'given an angle': told(feet.person, lambda i: feet.said.notna().to_numpy()[i].mean(), '{:.3f}')} | angles(measured)
    off = (measured.offset - measured.true_offset).abs().to_numpy(float)
    out['offset, MAE'] = told(measured.person, lambda i: off[i].mean(), '{:.3f}')
    out['offset, always the median, MAE'] = f'{(measured.true_offset - measured.true_offset.median()).abs().mean():.3f}'
    out['outline and heel, intersection over union, median'] = told(measured.person, lambda i: np.median(measured.overlap.to_numpy(float)[i]))
    pairs = [(p, abs(a - b)) for (p, _), g in measured.groupby(['person', 'side']) for a, b in combinations(g.said, 2)]
    who, apart = [p for p, _ in pairs], np.array([o for _, o in pairs])
    out[f'two photos of a foot (n = {len(pairs)}), median difference'] = told(who, lambda i: np.median(apart[i]))
    single = feet[(feet.feet == 1) & feet.true.between(-10, 15)]
    out[f'single feet (n = {len(single)}), side right'] = told(single.person, lambda i: single.right.to_numpy()[i].mean(), '{:.3f}')
    alone = single[single.said.notna()]
    out['single feet, MAE'] = told(alone.person, lambda i: abs(alone.said - alone.true).to_numpy()[i].mean())
    chosen = [folder/r['name'] for r in rows[:100]]
    before, change, lost, tried = list(predictor.batch(chosen)), [], 0, 0
    for aspect in ASPECTS:
        after = predictor.batch([reframed(Image.open(o).convert('RGB'), aspect) for o in chosen])
        for a, b in zip(before, after, strict=True):
            then, now = ({o.side: o.angle_deg for o in x.feet if o.angle_deg is not None} for x in (a, b))
            tried, lost = tried + len(then), lost + len(then.keys() - now)
            change += [abs(then[s] - now[s]) for s in then.keys() & now]
    out[f'aspects .75 to 2.3 (n = {tried} feet), change of the angle, mean'] = f'{np.mean(change):.2f}'
    return out | {'aspects .75 to 2.3, refused then': f'{lost/tried:.3f}'}

def refused(folder, predictor):
    "The share of pictures that must be refused and are, by view."
    rows, out = truth_of(folder), {}
    said = [not a.answer and not any(o.angle_deg is not None for o in a.feet) for a in answered(predictor, [folder/r['name'] for r in rows])]
    views = np.array(['oblique beyond 45°' if r['view'] == 'oblique' else r['view'] for r in rows])
    far = np.array([r['view'] != 'oblique' or abs(abs(r['yaw_deg']) - 90) < 45 for r in rows])
    said, who = np.array(said), np.array([r['person'] for r in rows])
    for view in ('all', *np.unique(views)):
        keep = np.flatnonzero(far & ((views == view) | (view == 'all')))
        out[f'{view} (n = {len(keep)})'] = told(who[keep], lambda i, keep=keep: said[keep][i].mean(), '{:.3f}')
    return out

def painted(file, marks, rng):
    "A photograph whose markers are painted over with what is around them."
    pixels = np.asarray(Image.open(file).convert('RGB')).astype(float)
    for x, y in marks:
        x0, y0 = int(x) - 70, int(y) - 70
        window = pixels[y0:y0 + 140, x0:x0 + 140]
        rows, columns = np.mgrid[:window.shape[0], :window.shape[1]]
        hidden = (columns - x + x0)**2 + (rows - y + y0)**2 < 34**2
        filled = window.copy()
        filled[hidden] = window[~hidden].reshape(-1, 3).mean(0)
        for s in (30, 15, 8, 4, 2, *[3]*60): filled[hidden] = gaussian_filter(filled, (s, s, 0))[hidden]
        filled[hidden] += rng.normal(0, 2, (hidden.sum(), 1))
        window[:] = filled
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

def real(folder, predictor):
    "Figures on photographs with markers, these painted over."
    table, rng = pd.read_csv(folder/'markers.csv'), np.random.default_rng(1)
    said, extra = {}, 0
    for name, marks in table.groupby('file'):
        points = np.vstack([marks[['upper_x', 'upper_y']], marks[['lower_x', 'lower_y']]])
        feet = {o.side: o.angle_deg for o in predictor(painted(folder/name, points, rng)).feet}
        said |= {(name, s): a for s, a in feet.items()}
        extra += len(feet.keys() - set(marks.side))
    table['said'] = [said.get((r.file, r.side)) for r in table.itertuples()]
    got = table.dropna(subset='said')
    off, who, n = (got.said - got.marker_angle_deg).to_numpy(float), np.arange(len(got)), f'{len(table)} heels, {table.person.nunique()} people'
    return {'': f'{n}; intervals over heels', 'found': str(sum((r.file, r.side) in said for r in table.itertuples())), 'given an angle': str(len(got)),
            'found where there is none': str(extra), 'bias, degrees': told(who, lambda i: off[i].mean(), '{:+.2f}'),
            'MAE, degrees': told(who, lambda i: abs(off[i]).mean()),
            'MAE with the bias removed': told(who, lambda i: abs(off[i] - off[i].mean()).mean()),
            'always the mean, MAE': f'{abs(got.marker_angle_deg - got.marker_angle_deg.mean()).mean():.2f}',
            'rank correlation': told(who, lambda i: spearmanr(got.said.to_numpy(float)[i], got.marker_angle_deg.to_numpy()[i]).statistic)}

def main():
    "Measure, print, keep."
    given = options(__doc__, 'folder', real=dict(type=Path), model=dict(type=Path),
                    share=dict(type=float, default=1., help='of the pictures, for a quick look; nothing is kept below 1'))
    predictor, parts = Predictor(given.model, threads=os.cpu_count()), {}
    for name, (n, each) in SETS.items(): write_pictures(given.folder/name, round(n*given.share), seed=77, size=384, mix=name, each=each)
    parts['Synthetic pictures, bare feet from behind'] = bare(given.folder/'bare', predictor)
    covered = feet_table(given.folder/'covered', predictor, truth_of(given.folder/'covered'))
    for footwear, feet in covered.groupby('footwear'):
        who, dealt = feet.person, (feet.found | feet.reasons).to_numpy()
        part = {'': f'{len(feet)} feet of {who.nunique()} people', 'an angle, or a stated refusal': told(who, lambda i, d=dealt: d[i].mean(), '{:.3f}'),
                'an angle': told(who, lambda i, d=feet.said.notna().to_numpy(): d[i].mean(), '{:.3f}')}
        parts[f'Synthetic pictures, {footwear}'] = part | (angles(feet[feet.said.notna()]) if feet.said.notna().sum() > 20 else {})
    parts['Synthetic pictures that must be refused, share that is'] = refused(given.folder/'refuse', predictor)
    if given.real: parts['Real photographs with markers, painted over'] = real(given.real, predictor)
    lines = [f'{datetime.date.today()}, {predictor.label}; brackets: 95 % intervals over people, unless said otherwise']
    for title, rows in parts.items(): lines += ['', f'{title}{": " + rows[""] if "" in rows else ""}', *(f'  {k:<62}{v}' for k, v in rows.items() if k)]
    if given.share == 1: keep('heels', lines)
    else: print('\n'.join(lines))

if __name__ == '__main__': main()
