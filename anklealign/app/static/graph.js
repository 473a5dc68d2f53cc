// What Python's `Predictor` does to a photo, where the photo is. This file makes the same pixels and puts what the graphs say into a record; it judges
// nothing. Numbers and texts come from Python (`about`), and tests/test_offline.py compares each step. `ort` is put before this file.
export const even = x => { const r = Math.round(x); return (Math.abs(x % 1) === .5 && r % 2 ? r - 1 : r) + 0; }; // as Python rounds

const sinc = x => x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
const FILTERS = {
  box: [.5, x => x > -.5 && x <= .5 ? 1 : 0],
  bicubic: [2, x => (x = Math.abs(x)) < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-.5 * x + 2.5) * x - 4) * x + 2 : 0],
  lanczos: [3, x => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0],
};
const BITS = 22; // of Pillow's whole numbers
const weights = (length, from, to, out, [reach, filter]) => {
  const scale = (to - from) / out, wide = Math.max(scale, 1), support = reach * wide, most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(out), count = new Int32Array(out), all = new Int32Array(out * most), exact = new Float64Array(most);
  for (let i = 0; i < out; i++) {
    const centre = from + (i + .5) * scale, low = Math.max(0, Math.trunc(centre - support + .5)), high = Math.min(length, Math.trunc(centre + support + .5));
    let sum = 0;
    for (let k = low; k < high; k++) sum += exact[k - low] = filter((k - centre + .5) * (1 / wide));
    for (let k = 0; k < high - low; k++) all[i * most + k] = exact[k] / sum * 2 ** BITS + (exact[k] / sum < 0 ? -.5 : .5);
    first[i] = low; count[i] = high - low;
  }
  return {first, count, all, most};
};
// `picture` {data, width, height} of four bytes a pixel, resized as Pillow does, to the bit; `box`: left, top, right, bottom of the part that counts
export const resized = (picture, width, height, kind, [left, top, right, bottom] = [0, 0, picture.width, picture.height]) => {
  const {data} = picture, across = weights(picture.width, left, right, width, FILTERS[kind]), down = weights(picture.height, top, bottom, height, FILTERS[kind]);
  const start = down.first[0], end = down.first[height - 1] + down.count[height - 1];
  const rows = new Uint8ClampedArray((end - start) * width * 4), out = new Uint8ClampedArray(width * height * 4);
  const {first, count, all, most} = across;
  for (let y = start, to = 0; y < end; y++) for (let x = 0, line = y * picture.width; x < width; x++, to += 4) {
    let r = 1 << BITS - 1, g = r, b = r; // half a level up
    for (let k = x * most, stop = k + count[x], i = (line + first[x]) * 4; k < stop; k++, i += 4) {
      const o = all[k];
      r = r + Math.imul(o, data[i]) | 0; g = g + Math.imul(o, data[i + 1]) | 0; b = b + Math.imul(o, data[i + 2]) | 0;
    }
    rows[to] = r >> BITS; rows[to + 1] = g >> BITS; rows[to + 2] = b >> BITS;
  }
  const sums = new Int32Array(width * 4);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << BITS - 1);
    for (let k = 0; k < down.count[y]; k++) {
      const o = down.all[y * down.most + k], at = (down.first[y] - start + k) * width * 4;
      for (let i = 0; i < width * 4; i++) sums[i] += Math.imul(o, rows[at + i]);
    }
    for (let i = 0, at = y * width * 4; i < width * 4; i++) out[at + i] = sums[i] >> BITS;
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

// libjpeg's cosines: thirteen bits, and a few of them one off; the second half of a row mirrors the first
const HALVES = [[8192, 8192, 8192, 8192], [11363, 9633, 6437, 2260], [10703, 4433, -4433, -10703], [9633, -2259, -11362, -6436],
  [8192, -8192, -8192, 8192], [6437, -11362, 2261, 9633], [4433, -10704, 10704, -4433], [2260, -6436, 9633, -11363]];
const COSINES = Int32Array.from(HALVES.flatMap((row, i) => [...row, ...[...row].reverse().map(o => i % 2 ? -o : o)]));
const across = k => 8 * (k & 7) + (k >> 3);
const waves = (block, half, c, bits) => { // of 8 × 8 levels, or levels of waves: first each row, then each column, in whole numbers of libjpeg
  for (let pass = 0; pass < 2; pass++) {
    const from = pass ? half : block, to = pass ? block : half, down = pass ? bits : 11, up = 1 << down - 1;
    for (let i = 0; i < 64; i += 8) {
      const o = from[i], p = from[i + 1], q = from[i + 2], r = from[i + 3], s = from[i + 4], t = from[i + 5], v = from[i + 6], w = from[i + 7];
      for (let k = 0, at = i >> 3; k < 64; k += 8, at += 8) to[at] = up + o * c[k] + p * c[k + 1] + q * c[k + 2] + r * c[k + 3] + s * c[k + 4] + t * c[k + 5] + v * c[k + 6] + w * c[k + 7] >> down;
    }
  }
};
export const stored = ({data, width, height}, steps) => { // what a JPEG without subsampling keeps, its waves in `steps`: the model has learned from such files
  const out = new Uint8ClampedArray(data), [luma, blue, red, half] = [1, 2, 3, 4].map(() => new Int32Array(64)), places = new Int32Array(64);
  const back = COSINES.map((_, i) => COSINES[across(i)]), level = o => Math.min(Math.max(o, -128), 127);
  for (let top = 0; top < height; top += 8) for (let left = 0; left < width; left += 8) {
    for (let k = 0; k < 64; k++) {
      const i = places[k] = 4 * (Math.min(top + (k >> 3), height - 1) * width + Math.min(left + (k & 7), width - 1)), r = data[i], g = data[i + 1], b = data[i + 2];
      luma[k] = (19595 * r + 38470 * g + 7471 * b + 32768 >> 16) - 128;
      blue[k] = -11059 * r - 21709 * g + 32768 * b + 32767 >> 16;
      red[k] = 32768 * r - 27439 * g - 5329 * b + 32767 >> 16;
    }
    for (const block of [luma, blue, red]) {
      const step = steps[block === luma ? 0 : 1];
      waves(block, half, COSINES, 15);
      for (let k = 0; k < 64; k++) half[across(k)] = Math.sign(block[k]) * Math.floor((Math.abs(block[k]) + 4 * step[k]) / (8 * step[k])) * step[k];
      waves(half, block, back, 18); // columns first
      for (let k = 0; k < 64; k++) block[k] = level(half[across(k)]);
    }
    for (let k = 63; k >= 0; k--) { // backwards, as what lies beyond the picture repeats its edge
      const i = places[k], y = luma[k] + 128, b = blue[k], r = red[k];
      out[i] = y + (91881 * r + 32768 >> 16);
      out[i + 1] = y + (-22554 * b - 46802 * r + 32768 >> 16);
      out[i + 2] = y + (116130 * b + 32768 >> 16);
    }
  }
  return {data: out, width, height};
};

// Quality, classes and heels: judged by graphs that are drawn from the Python that judges them on a server.
const CLASSES = ['pronation', 'neutral', 'supination'], finite = values => values.every(Number.isFinite), sessions = {};
const doubles = o => new ort.Tensor('float64', Float64Array.from([o].flat()), Array.isArray(o) ? [o.length] : []);
export const opens = async (name, graph) => { sessions[name] = await ort.InferenceSession.create(new Uint8Array(graph), {executionProviders: ['wasm'], logSeverityLevel: 3}); };
export const asked = async (name, inputs) => Object.fromEntries(Object.entries(await sessions[name].run(inputs)).map(([k, o]) => [k, Array.from(o.data, Number)]));
const numbersOf = async ({data, width, height}, names, part = 0) => { // of a picture, without that part of the width on either side
  const {numbers} = await asked('quality', {pixels: new ort.Tensor('uint8', new Uint8Array(data.buffer), [height, width, 4]),
    trim: new ort.Tensor('int64', BigInt64Array.of(BigInt(Math.trunc(part * width))), [])});
  return Object.fromEntries(names.map((o, i) => [o, numbers[i]]));
};
export const measured = (picture, how) =>
  numbersOf(Math.max(picture.width, picture.height) <= how.side ? picture : resized(picture, ...within(picture, how.side), 'box'), how.numbers);
export const measuredHeels = async (picture, width, feet, how) => { // `picture` may be smaller than the photo of that width
  const mean = values => values.reduce((a, b) => a + b) / values.length, scale = picture.width / width, heels = [];
  for (const {box} of feet) {
    const [left, top, right, bottom] = box.map((o, i) => Math.trunc(Math.min(Math.max(o * scale, 0), (i % 2 ? picture.height : picture.width) - 1)));
    const part = [left, top, Math.max(left, right) + 1, Math.max(top, bottom) + 1];
    heels.push(await numbersOf(resized(picture, Math.max(2, even((part[2] - part[0]) * how.heel / (part[3] - part[1]))), how.heel, 'box', part), how.numbers, how.around));
  }
  return {...Object.fromEntries(how.numbers.map(k => [k, mean(heels.map(o => o[k]))])), contrast: Infinity, tilt: mean(feet.map(o => o.vertical_deg))};
};
export const findings = (numbers, picture, {model_size, quality}, text) => {
  const known = {...numbers, tilt: Math.abs(numbers.tilt), sharpness: Math.max(picture.width, picture.height) / model_size};
  const codes = Object.keys(quality.faults).filter(code => quality.faults[code].every(([k, low, limit]) => low ? known[k] < limit : known[k] > limit));
  return codes.filter(o => o === 'blank' || !codes.includes('blank')).map(code => ({code, advice: filled(text.advice[code], picture), silent: code === 'blank'}));
};
const filled = (text, values) => text.replace(/\{(\w+)[^}]*\}/g, (_, key) => values[key]);
const classesOf = async (said, rule) => { // from log probabilities of each photo of a person
  const {probabilities: values, possible} = await asked('classes', {said, ...Object.fromEntries(['temperature', 'factors', 'sharpening', 'thresholds'].map(o => [o, doubles(rule[o])]))});
  const known = finite(values), answer = known ? CLASSES[values.indexOf(Math.max(...values))] : '';
  return {values, answer, probabilities: known ? Object.fromEntries(CLASSES.map((o, i) => [o, values[i]])) : {}, possible: CLASSES.filter((_, i) => possible[i])};
};
const reasonsOf = ({values, answer}, quality, score, rule, text) => {
  const reasons = quality.filter(o => o.silent).map(o => o.advice), sure = Math.max(...values), two = o => o.toFixed(2).replace('.', text.answer.decimal);
  if (!answer) return [...reasons, text.answer.no_number];
  if (!(score <= 1)) reasons.push(text.answer.strange);
  if (rule.abstain_below !== null && sure < rule.abstain_below)
    reasons.push(filled(text.answer.unsure, {top: text.classes[answer], sure: two(sure), least: two(rule.abstain_below)}));
  return reasons;
};
const record = more => ({name: '', answer: '', probabilities: {}, possible: [], reasons: [], quality: [], strangeness: null, width: 0, height: 0, milliseconds: 0,
  model: '', disclaimer: '', feet: [], error: '', ...more, most_probable: Object.keys(more.probabilities ?? {}).reduce((a, b) => a && more.probabilities[a] >= more.probabilities[b] ? a : b, '')});
const decided = (judged, reasons, more) => record({...more, answer: reasons.length ? '' : judged.answer, probabilities: judged.probabilities, possible: judged.possible, reasons});
export const together = async (numbers, rule, text) => { // `answer_subject`
  const used = numbers.filter(o => o && Object.keys(o.probabilities).length && o.ood_score !== null && o.ood_score <= 1 && !o.withholds);
  const name = filled(text.answer.together, {used: used.length, all: numbers.length});
  if (!used.length) return record({name, reasons: [text.answer.no_photo]});
  const said = new ort.Tensor('float32', used.flatMap(o => CLASSES.map(c => Math.log(o.probabilities[c]))), [used.length, CLASSES.length]);
  const judged = await classesOf(said, {...rule, temperature: 1, factors: [1, 1, 1]});
  return decided(judged, reasonsOf(judged, [], 0, rule, text), {name});
};
const feetOf = async ({feet, outlines, views}, {width, height}, {heels, names}, text) => { // in words, and why there are none
  const said = await asked('heels', {feet, outlines, views, size: doubles([width, height]), rule: doubles(heels)});
  if (said.seen[0]) return [[], text.heels[names.views[said.seen[0]]]];
  return [names.sides.flatMap((side, i) => {
    const of = k => said[k].slice(i * said[k].length / 2, (i + 1) * said[k].length / 2), at = k => feet.data[i * names.columns.length + names.columns.indexOf(k)];
    const reason = text.heels[names.reasons[said.against[i]]] ?? '', possible = CLASSES.filter((_, c) => of('possible')[c]), points = of('outline');
    const placed = {side, angle_deg: null, low_deg: null, high_deg: null, upper: of('upper'), lower: of('lower'), box: of('box'), answer: '', probabilities: {}, offset: null,
      possible: [], vertical_deg: at('vertical_deg'), reason, set_by: 'model', outline: []};
    if (!said.found[i] || reason) return said.found[i] ? [placed] : [];
    const rows = Array.from({length: points.length / 4}, (_, k) => points.slice(4 * k, 4 * k + 4).map(x => even(10 * x) / 10)).filter(finite);
    return [{...placed, angle_deg: at('angle_deg'), low_deg: said.low[i], high_deg: said.high[i], answer: possible.length === 1 ? possible[0] : '', possible,
      probabilities: Object.fromEntries(CLASSES.map(c => [c, at(c)])), offset: at('offset'), outline: [...rows.map(o => o.slice(0, 2)), ...rows.reverse().map(o => o.slice(2))]}];
  }), ''];
};
export const answered = async (outputs, picture, about, text) => { // the outputs of the bundle's graph, by name, to a record as `as_record` gives
  const {width, height} = picture, score = outputs.strangeness.data[0] / about.threshold, shown = {width, height, strangeness: Number.isFinite(score) ? score : null};
  shown.quality = findings(await measured(picture.image, about.quality), picture, about, text);
  const judged = await classesOf(outputs.log_probabilities, about.rule), reasons = reasonsOf(judged, shown.quality, score, about.rule, text);
  if (!about.heels) return decided(judged, reasons, shown);
  const [feet, reason] = await feetOf(outputs, picture, about, text);
  if (reason) return record({...shown, reasons: [reason]});
  shown.quality = findings(await measuredHeels(picture.image, width, feet, about.quality), picture, about, text);
  if (feet.some(o => o.possible.length)) return decided(judged, reasons, {...shown, feet});
  return record({...shown, feet, reasons: feet.map(o => `${text.heels[o.side]}: ${o.reason}`)});
};

// Files: what Pillow refuses before it decodes.
const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to)), two = (b, i) => b[i] << 8 | b[i + 1];
const onItsSide = (b, start) => { // whether the orientation in EXIF data turns a picture by 90 degrees
  const little = b[start] === 0x49, at = i => little ? b[start + i] | b[start + i + 1] << 8 : two(b, start + i), first = at(little ? 4 : 6);
  for (let i = first + 2, last = i + 12 * at(first); i < last; i += 12) if (at(i) === 0x112) return at(i + 8) > 4;
  return false;
};
export const header = bytes => { // kind, width and height where they can be read, and whether the file ends after its picture
  const four = i => two(bytes, i) * 65536 + two(bytes, i + 2);
  if (two(bytes, 0) === 0xffd8) {
    let at = 2, size = [], lies = false;
    while (at + 9 < bytes.length && bytes[at + 1] !== 0xda) {
      if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) { at++; continue; }
      const mark = bytes[at + 1];
      if (mark === 0xe1 && ascii(bytes, at + 4, at + 8) === 'Exif') lies = onItsSide(bytes, at + 10);
      if (mark >= 0xc0 && mark <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(mark)) size = [two(bytes, at + 7), two(bytes, at + 5)];
      at += mark === 1 || mark === 0 || mark >= 0xd0 && mark <= 0xd8 ? 2 : 2 + Math.max(two(bytes, at + 2), 2);
    }
    let end = bytes.length - 2;
    while (end > at && !(bytes[end] === 0xff && bytes[end + 1] === 0xd9)) end--;
    return {kind: 'JPEG', size: lies ? size.reverse() : size, whole: end > at};
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
const smaller = (n, part) => Math.ceil(n / part);
const reduced = async (blob, size, part, how) => { // a JPEG at a part of its size: as Pillow decodes it, where the browser can, which is ten times as fast
  const [desiredWidth, desiredHeight] = size.map(o => smaller(o, part));
  if (!globalThis.ImageDecoder) return createImageBitmap(blob, {...how, resizeWidth: desiredWidth, resizeQuality: 'medium'});
  const decoder = new ImageDecoder({data: await blob.arrayBuffer(), type: 'image/jpeg', colorSpaceConversion: 'none', desiredWidth, desiredHeight});
  return decoder.decode().then(o => o.image, () => null).finally(() => decoder.close());
};
const sides = o => o ? [o.displayWidth ?? o.width, o.displayHeight ?? o.height] : [0, 0];
export const opened = async (blob, about) => { // upright, white behind what is transparent; throws the reason
  const {kind, size, whole} = header(new Uint8Array(await blob.arrayBuffer()));
  if (size.length) checked(size, about.megapixels);
  if (!whole) throw 'truncated';
  const upright = {imageOrientation: 'from-image', colorSpaceConversion: 'none'}, parted = ([w, h]) => kind === 'JPEG' ? [8, 4, 2, 1].find(o => o === 1 || Math.min(w, h) >= o * about.size) : 1;
  const part = size.length ? parted(size) : 1, near = scale => sides(bitmap).every((o, i) => Math.abs(o - size[i] / scale) <= 2);
  let bitmap, full = size;
  try {
    if (part > 1) bitmap = await reduced(blob, size, part, upright);
    if (!bitmap || !near(part) && !near(1)) { // whatever the file says of itself, its picture decides
      bitmap?.close();
      bitmap = await createImageBitmap(blob, upright);
      full = sides(bitmap);
    }
  } catch { throw kind === 'HEIC' || kind === 'TIFF' || kind === 'AVIF' ? `format ${kind}` : 'other'; }
  try {
    checked(full, about.megapixels);
    const [width, height] = full, pen = drawn(bitmap, ...full.map(o => smaller(o, parted(full))));
    return {width, height, canvas: pen.canvas, image: pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height)};
  } finally { bitmap.close(); }
};
export const seen = (image, about) => { // bytes as the graph takes them, three a pixel
  let small = stored(square(image, about.size, about.fit, about.grey), about.steps);
  if (about.model_size !== about.size) small = resized(small, about.model_size, about.model_size, 'bicubic');
  const out = new Uint8Array(small.width * small.height * 3);
  for (let i = 0, k = 0; i < small.data.length; i += 4) { out[k++] = small.data[i]; out[k++] = small.data[i + 1]; out[k++] = small.data[i + 2]; }
  return out;
};
