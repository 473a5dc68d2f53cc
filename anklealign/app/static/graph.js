// What Python's `Predictor` does to a photo, where the photo is: the same pixels, quality checks, graph and decision rule.
// The numbers come from Python (`about`), and tests/test_offline.py compares each step. `ort` is put before this file.
export const even = x => { const r = Math.round(x); return (Math.abs(x % 1) === .5 && r % 2 ? r - 1 : r) + 0; }; // as Python rounds

const sinc = x => x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
const FILTERS = {
  box: [.5, x => x > -.5 && x <= .5 ? 1 : 0],
  bicubic: [2, x => (x = Math.abs(x)) < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-.5 * x + 2.5) * x - 4) * x + 2 : 0],
  lanczos: [3, x => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0],
};
const weights = (length, from, to, out, [reach, filter]) => {
  const scale = (to - from) / out, wide = Math.max(scale, 1), support = reach * wide, most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(out), count = new Int32Array(out), all = new Float32Array(out * most);
  for (let i = 0; i < out; i++) {
    const centre = from + (i + .5) * scale, low = Math.max(0, Math.trunc(centre - support + .5)), high = Math.min(length, Math.trunc(centre + support + .5));
    let sum = 0;
    for (let k = low; k < high; k++) sum += all[i * most + k - low] = filter((k - centre + .5) / wide);
    for (let k = 0; k < high - low; k++) all[i * most + k] /= sum;
    first[i] = low; count[i] = high - low;
  }
  return {first, count, all, most};
};
// `picture` {data, width, height} of four bytes a pixel, resized as Pillow does; `box`: left, top, right, bottom of the part that counts
export const resized = (picture, width, height, kind, [left, top, right, bottom] = [0, 0, picture.width, picture.height]) => {
  const {data} = picture, across = weights(picture.width, left, right, width, FILTERS[kind]), down = weights(picture.height, top, bottom, height, FILTERS[kind]);
  const start = down.first[0], end = down.first[height - 1] + down.count[height - 1];
  const rows = new Uint8ClampedArray((end - start) * width * 4), out = new Uint8ClampedArray(width * height * 4);
  const {first, count, all, most} = across;
  for (let y = start, to = 0; y < end; y++) for (let x = 0, line = y * picture.width; x < width; x++, to += 4) {
    let r = .5, g = .5, b = .5; // half a level up, as Pillow rounds
    for (let k = x * most, stop = k + count[x], i = (line + first[x]) * 4; k < stop; k++, i += 4) { const o = all[k]; r += o * data[i]; g += o * data[i + 1]; b += o * data[i + 2]; }
    rows[to] = r | 0; rows[to + 1] = g | 0; rows[to + 2] = b | 0;
  }
  const sums = new Float32Array(width * 4);
  for (let y = 0; y < height; y++) {
    sums.fill(.5);
    for (let k = 0; k < down.count[y]; k++) {
      const o = down.all[y * down.most + k], at = (down.first[y] - start + k) * width * 4;
      for (let i = 0; i < width * 4; i++) sums[i] += o * rows[at + i];
    }
    for (let i = 0, at = y * width * 4; i < width * 4; i++) out[at + i] = sums[i] | 0;
  }
  for (let i = 3; i < out.length; i += 4) out[i] = 255;
  return {data: out, width, height};
};
const within = ({width, height}, side) => // as Pillow's `contain`
  width === height ? [side, side] : width > height ? [side, Math.max(1, even(height / width * side))] : [Math.max(1, even(width / height * side)), side];
export const square = (picture, side, fit, grey) => {
  if (fit === 'crop') {
    const {width, height} = picture, least = Math.min(width, height), x = (width - least) / 2, y = (height - least) / 2;
    return resized(picture, side, side, 'lanczos', [x, y, x + least, y + least]);
  }
  const [width, height] = within(picture, side), inside = resized(picture, width, height, 'lanczos');
  const x = even((side - width) / 2), y = even((side - height) / 2), data = new Uint8ClampedArray(side * side * 4).fill(grey);
  for (let i = 0; i < height; i++) data.set(inside.data.subarray(i * width * 4, (i + 1) * width * 4), ((y + i) * side + x) * 4);
  return {data, width: side, height: side};
};

// Quality: the port of anklealign.inference.quality.
const boxed = (line, out, reach) => { // Pillow's box blur of one line, with a fractional reach
  const n = line.length, whole = Math.floor(reach), edge = reach - whole, at = i => line[Math.min(Math.max(i, 0), n - 1)];
  for (let i = 0; i < n; i++) {
    let sum = edge * (at(i - whole - 1) + at(i + whole + 1));
    for (let k = -whole; k <= whole; k++) sum += at(i + k);
    out[i] = Math.floor(sum / (2 * reach + 1) + .5);
  }
};
const softened = (grey, width, height, sigma) => {
  const passes = 3, variance = sigma * sigma / passes, l = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const reach = l + (2 * l + 1) * (l * (l + 1) - 3 * variance) / (6 * (variance - (l + 1) ** 2)), soft = Float32Array.from(grey, even);
  for (const [lines, length, step, next] of [[height, width, 1, width], [width, height, width, 1]])
    for (let i = 0, line = new Float32Array(length), out = new Float32Array(length); i < lines; i++) {
      for (let k = 0; k < length; k++) line[k] = soft[i * next + k * step];
      for (let p = 0; p < passes; p++) { boxed(line, out, reach); [line, out] = [out, line]; }
      for (let k = 0; k < length; k++) soft[i * next + k * step] = line[k];
    }
  return soft;
};
const blurred = (at, width, height, reach) => { // along x
  let before = 0, lost = 0;
  for (let y = 0; y < height; y++) {
    let sum = 0;
    const cut = x => at(Math.min(Math.max(x, 0), width - 1), y), half = reach >> 1;
    for (let k = -half; k <= half; k++) sum += cut(k);
    for (let x = 1; x < width; x++) {
      const last = sum, sharp = Math.abs(at(x, y) - at(x - 1, y));
      sum += cut(x + half) - cut(x - 1 - half);
      before += sharp; lost += Math.max(0, sharp - Math.abs(sum - last) / reach);
    }
  }
  return before ? 1 - lost / before : 1;
};
const leaning = (grey, width, height, {soft, upright}) => {
  const o = softened(grey, width, height, soft), most = Math.tan(upright * Math.PI / 180);
  const slope = (at, i, n) => n === 1 ? 0 : i === 0 ? at(1) - at(0) : i === n - 1 ? at(i) - at(i - 1) : (at(i + 1) - at(i - 1)) / 2;
  let both = 0, apart = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const across = slope(k => o[y * width + k], x, width), down = slope(k => o[k * width + x], y, height);
    if (Math.abs(down) < most * Math.abs(across)) { both += down * across; apart += across * across - down * down; }
  }
  return Math.atan2(2 * both, apart) * 90 / Math.PI;
};
const greyOf = ({data}) => Float32Array.from({length: data.length / 4}, (_, i) => (data[4 * i] * 19595 + data[4 * i + 1] * 38470 + data[4 * i + 2] * 7471 + 0x8000) >> 16);
const blurOf = (grey, width, height, reach) => Math.max(blurred((x, y) => grey[y * width + x], width, height, reach), blurred((x, y) => grey[x * width + y], height, width, reach));
const lightOf = (pictures, from, bright) => { // of the columns from `from` of the width to as far from the right
  let n = 0, sum = 0, squares = 0, white = 0, rest = 0;
  for (const {data, width, height} of pictures) {
    const out = Math.floor(width * from);
    for (let y = 0; y < height; y++) for (let x = out; x < width - out; x++, n++) {
      const i = 4 * (y * width + x), mean = (data[i] + data[i + 1] + data[i + 2]) / 3, is = Math.min(data[i], data[i + 1], data[i + 2]) >= bright;
      sum += mean; squares += mean * mean; white += is; rest += is ? 0 : mean;
    }
  }
  const brightness = sum / n;
  return {brightness, contrast: Math.sqrt(Math.max(0, squares / n - brightness ** 2)), overexposed: white / n, rest: white < n ? rest / (n - white) : 255};
};
export const measured = (picture, how) => {
  const small = Math.max(picture.width, picture.height) <= how.side ? picture : resized(picture, ...within(picture, how.side), 'box'), grey = greyOf(small);
  return {...lightOf([small], 0, how.white), blur: blurOf(grey, small.width, small.height, how.reach), tilt: leaning(grey, small.width, small.height, how)};
};
export const measuredHeels = (picture, width, feet, how) => { // `picture` may be smaller than the photo of that width
  const mean = values => values.reduce((a, b) => a + b) / values.length, scale = picture.width / width;
  const heels = feet.map(({box}) => {
    const [left, top, right, bottom] = box.map((o, i) => Math.trunc(Math.min(Math.max(o * scale, 0), (i % 2 ? picture.height : picture.width) - 1)));
    const part = [left, top, Math.max(left, right) + 1, Math.max(top, bottom) + 1];
    return resized(picture, Math.max(2, even((part[2] - part[0]) * how.heel / (part[3] - part[1]))), how.heel, 'box', part);
  });
  return {...lightOf(heels, .25, how.white), contrast: Infinity, blur: mean(heels.map(o => blurOf(greyOf(o), o.width, o.height, how.reach))),
    tilt: mean(feet.map(o => o.vertical_deg))};
};
export const findings = (numbers, picture, about, text) => faults(numbers, Math.max(picture.width, picture.height), about.model_size, about.quality.limits)
  .map(code => ({code, advice: filled(text.advice[code], picture), silent: code === 'blank'}));
export const faults = (o, longer, size, limits) => o.contrast < limits.blank ? ['blank'] : Object.entries({
  dark: o.brightness < limits.dark, bright: o.overexposed > limits.overexposed && o.rest > limits.rest, blurred: o.blur > limits.blurred,
  small: longer < size, tilted: Math.abs(o.tilt) > limits.tilted}).filter(([, wrong]) => wrong).map(([code]) => code);

// Decision rule: the port of anklealign.decision and anklealign.deploy.
const CLASSES = ['pronation', 'neutral', 'supination'], finite = values => values.every(Number.isFinite);
const named = values => finite(values) ? Object.fromEntries(CLASSES.map((o, i) => [o, values[i]])) : {};
const top = values => values.reduce((best, o, i) => (Number.isNaN(o) ? -1 : o) > (Number.isNaN(values[best]) ? -1 : values[best]) ? i : best, 0);
const filled = (text, values) => text.replace(/\{(\w+)[^}]*\}/g, (_, key) => values[key]);
export const calibrated = (probabilities, temperature) => {
  const logs = probabilities.map(o => Math.log(Math.max(o, 1.1754943508222875e-38)) / temperature), most = Math.max(...logs), powers = logs.map(o => Math.exp(o - most));
  return powers.map(o => o / powers.reduce((a, b) => a + b));
};
export const notExcluded = (values, sets) => {
  const inside = values.map((o, i) => o >= sets[CLASSES[i]] || !finite(values));
  inside[1] ||= inside[0] && inside[2];
  return CLASSES.filter((_, i) => inside[i]);
};
export const reasonsOf = (values, quality, score, rule, text) => {
  const reasons = quality.filter(o => o.silent).map(o => o.advice), sure = Math.max(...values), two = o => o.toFixed(2).replace('.', text.answer.decimal);
  if (!finite(values)) return [...reasons, text.answer.no_number];
  if (!(score <= 1)) reasons.push(text.answer.strange);
  if (rule.abstain_below !== null && sure < rule.abstain_below)
    reasons.push(filled(text.answer.unsure, {top: text.classes[CLASSES[top(values)]], sure: two(sure), least: two(rule.abstain_below)}));
  return reasons;
};
const record = more => ({name: '', answer: '', probabilities: {}, possible: [], reasons: [], quality: [], strangeness: null, width: 0, height: 0, milliseconds: 0,
  model: '', disclaimer: '', feet: [], error: '', ...more, most_probable: Object.keys(more.probabilities ?? {}).reduce((a, b) => a && more.probabilities[a] >= more.probabilities[b] ? a : b, '')});
export const together = (numbers, rule, text) => { // `answer_subject`
  const judged = numbers.filter(o => o && Object.keys(o.probabilities).length && o.ood_score !== null && o.ood_score <= 1 && !o.withholds);
  const name = filled(text.answer.together, {used: judged.length, all: numbers.length});
  if (!judged.length) return record({name, reasons: [text.answer.no_photo]});
  const rows = judged.map(o => CLASSES.map(c => o.probabilities[c])), key = o => o.map(p => even(p * 1e6)).join(), keys = rows.map(key);
  const kept = rows.filter((_, i) => keys.indexOf(keys[i]) === i), power = 1 + rule.sharpening * (1 - 1 / kept.length);
  const powers = CLASSES.map((_, i) => (kept.reduce((a, o) => a + o[i], 0) / kept.length) ** power), mean = powers.map(o => o / powers.reduce((a, b) => a + b));
  const reasons = reasonsOf(mean, [], 0, rule, text);
  return record({name, answer: reasons.length ? '' : CLASSES[top(mean)], probabilities: named(mean), possible: notExcluded(mean, rule.sets), reasons});
};

// Heels: the port of anklealign.heels.feet and .geometry.
const outward = side => side === 'left' ? -1 : 1;
const polygon = (sides, place) => { // rows of left x, left y, right x, right y: down the left side, up the right one
  const rows = sides.filter(finite), tenth = x => even(10 * x) / 10;
  return [...rows.map(o => place(o[0], o[1])), ...rows.reverse().map(o => place(o[2], o[3]))].map(o => o.map(tenth));
};
const between = (low, high, cutoffs) => { const at = o => 2 - cutoffs.filter(c => c < o).length; return CLASSES.slice(at(high), at(low) + 1); };
export const feetOf = (values, outlines, view, width, height, rule, names, text) => { // rows of `values` as `COLUMNS`, `view` as `VIEWS`
  const words = text.heels, views = Object.fromEntries(names.views.map((o, i) => [o, view[i]]));
  if (!finite(values.flat()) || !finite(view)) return [[], words.none];
  if (views.behind < rule.behind) return [[], words[names.views.filter(o => o !== 'behind').reduce((a, b) => views[a] >= views[b] ? a : b)]];
  const longer = Math.max(width, height), place = (x, y) => [x * longer - (longer - width) / 2, y * longer - (longer - height) / 2];
  const feet = names.sides.flatMap((side, i) => {
    const o = Object.fromEntries(names.columns.map((key, k) => [key, values[i][k]]));
    if (o.found < rule.found) return [];
    const at = m => place(o[`${m}_x`], o[`${m}_y`]), box = [...place(o.left, o.top), ...place(o.right, o.bottom)], half = rule.interval * Math.exp(o.log_spread);
    const footwear = names.footwear.reduce((a, b) => o[a] >= o[b] ? a : b), angle = o.angle_deg;
    const against = footwear === 'shoe' ? 'shoe' : box[3] - box[1] < rule.least_pixels ? 'small' : Math.abs(o.yaw_deg) > rule.turned_deg ? 'turned'
      : o.measurable < rule.measurable || half > rule.widest_deg ? 'unclear' : '';
    const placed = {side, angle_deg: null, low_deg: null, high_deg: null, upper: at('upper'), lower: at('lower'), box, answer: '', probabilities: {}, offset: null,
      possible: [], vertical_deg: o.vertical_deg, reason: against && words[against], set_by: 'model', outline: []};
    if (against) return [placed];
    const possible = between(angle - half, angle + half, rule.cutoffs);
    return [{...placed, angle_deg: angle, low_deg: angle - half, high_deg: angle + half, answer: possible.length === 1 ? possible[0] : '', possible,
      probabilities: Object.fromEntries(CLASSES.map(c => [c, o[c]])), offset: o.offset, outline: polygon(outlines[i], place)}];
  });
  return [feet, feet.length ? '' : words.none];
};
const noAngle = (foot, text) => `${text.heels[foot.side]}: ${foot.reason}`;
export const answered = (outputs, picture, quality, about, text) => { // the outputs of the graph, by name, to a record as `as_record` gives
  const {width, height} = picture, {rule, heels} = about, values = calibrated(outputs.log_probabilities.map(Math.exp), rule.temperature);
  const score = outputs.strangeness[0] / about.threshold, reasons = reasonsOf(values, quality, score, rule, text), shown = {width, height, quality, strangeness: Number.isFinite(score) ? score : null};
  const plain = {...shown, answer: reasons.length ? '' : CLASSES[top(values)], probabilities: named(values), possible: notExcluded(values, rule.sets), reasons};
  if (!heels || !outputs.feet) return record(plain);
  const n = about.names.columns.length, rows = [0, 1].map(i => outputs.feet.slice(i * n, (i + 1) * n)), points = outputs.outlines, half = points.length / 2;
  const sides = [0, half].map(from => Array.from({length: half / 4}, (_, k) => points.slice(from + 4 * k, from + 4 * k + 4)));
  const [feet, reason] = feetOf(rows, sides, outputs.views, width, height, heels, about.names, text);
  if (reason) return record({...shown, reasons: [reason]});
  plain.quality = shown.quality = findings(measuredHeels(picture.image, width, feet, about.quality), picture, about, text);
  if (!feet.some(o => o.possible.length)) return record({...shown, feet, reasons: feet.map(o => noAngle(o, text))});
  return record({...plain, feet});
};

// Files: what Pillow refuses before it decodes.
const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to)), two = (b, i) => b[i] << 8 | b[i + 1];
export const header = bytes => { // kind, width and height where they can be read, and whether the file ends after its picture
  const four = i => two(bytes, i) * 65536 + two(bytes, i + 2);
  if (two(bytes, 0) === 0xffd8) {
    let at = 2, size = [];
    while (at + 9 < bytes.length && bytes[at + 1] !== 0xda) {
      if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) { at++; continue; }
      const mark = bytes[at + 1];
      if (mark >= 0xc0 && mark <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(mark)) size = [two(bytes, at + 7), two(bytes, at + 5)];
      at += mark === 1 || mark === 0 || mark >= 0xd0 && mark <= 0xd8 ? 2 : 2 + Math.max(two(bytes, at + 2), 2);
    }
    let end = bytes.length - 2;
    while (end > at && !(bytes[end] === 0xff && bytes[end + 1] === 0xd9)) end--;
    return {kind: 'JPEG', size, whole: end > at};
  }
  if (ascii(bytes, 1, 4) === 'PNG') {
    let at = 8;
    while (at + 12 <= bytes.length && ascii(bytes, at + 4, at + 8) !== 'IEND') at += 12 + four(at);
    return {kind: 'PNG', size: [four(16), four(20)], whole: at + 8 <= bytes.length};
  }
  const mark = ascii(bytes, 0, 4), brand = ascii(bytes, 4, 12);
  const kind = /^ftyp(hei|hev|mif|msf)/.test(brand) ? 'HEIC' : mark === 'II*\0' || mark === 'MM\0*' ? 'TIFF' : mark === 'RIFF' ? 'WebP' : /^ftypavi/.test(brand) ? 'AVIF' : '';
  return {kind, size: [], whole: true};
};
const checked = ([width, height], megapixels) => {
  if (width * height > megapixels * 1e6) throw 'too large';
  if (Math.min(width, height) < Math.max(16, Math.max(width, height) / 32)) throw 'too small';
};
const drawn = (bitmap, width, height) => {
  const pen = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  pen.imageSmoothingQuality = 'medium'; // means of 2 × 2 pixels, about what a JPEG decoder gives at half its size
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0, width, height);
  return pen;
};
export const opened = async (blob, about) => { // upright, white behind what is transparent; throws the reason
  const {kind, size, whole} = header(new Uint8Array(await blob.arrayBuffer()));
  if (size.length) checked(size, about.megapixels);
  if (!whole) throw 'truncated';
  let bitmap;
  try { bitmap = await createImageBitmap(blob, {imageOrientation: 'from-image', colorSpaceConversion: 'none'}); }
  catch { throw kind === 'HEIC' || kind === 'TIFF' || kind === 'AVIF' ? `format ${kind}` : 'other'; }
  const {width, height} = bitmap, part = [8, 4, 2, 1].find(o => o === 1 || Math.min(width, height) >= o * about.size);
  try {
    checked([width, height], about.megapixels);
    const pen = drawn(bitmap, Math.ceil(width / part), Math.ceil(height / part));
    return {width, height, canvas: pen.canvas, image: pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height)};
  } finally { bitmap.close(); }
};
export const seen = (image, about) => { // bytes as the graph takes them, three a pixel
  let small = square(image, about.size, about.fit, about.grey);
  if (about.model_size !== about.size) small = resized(small, about.model_size, about.model_size, 'bicubic');
  const out = new Uint8Array(small.width * small.height * 3);
  for (let i = 0, k = 0; i < small.data.length; i += 4) { out[k++] = small.data[i]; out[k++] = small.data[i + 1]; out[k++] = small.data[i + 2]; }
  return out;
};
