// The page's worker: opens runtime and graph once, then answers photo after photo. It follows the runtime and graph.js in one file.
let about;
const unpacked = async from => { // an address with its hash, or the bytes themselves; packed by gzip or not
  const bytes = from.bytes ?? await (await fetch(from.address, {integrity: from.integrity})).arrayBuffer();
  if (two(new Uint8Array(bytes), 0) !== 0x1f8b) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
};
const INFERNO_STEPS = 255;
const heated = (canvas, evidence, {fit, inferno}) => { // `marked_picture` of an answer without heels
  const side = Math.round(Math.sqrt(evidence.length)), most = Math.max(...evidence, 1e-12), map = new ImageData(side, side);
  evidence.forEach((o, i) => map.data.set([0, 0, 0, Number.isFinite(o) && o > 0 ? INFERNO_STEPS * o / most : 0], 4 * i));
  const small = new OffscreenCanvas(side, side), {width, height} = canvas, longer = fit === 'pad' ? Math.max(width, height) : Math.min(width, height);
  small.getContext('2d').putImageData(map, 0, 0);
  const over = new OffscreenCanvas(width, height).getContext('2d'), pen = canvas.getContext('2d');
  over.drawImage(small, (width - longer) / 2, (height - longer) / 2, longer, longer);
  const {data} = over.getImageData(0, 0, width, height), picture = pen.getImageData(0, 0, width, height);
  for (let i = 0; i < data.length; i += 4) {
    const heat = data[i + 3] / INFERNO_STEPS, at = heat * (inferno.length - 1), low = Math.min(Math.floor(at), inferno.length - 2), part = at - low;
    const grey = .299 * picture.data[i] + .587 * picture.data[i + 1] + .114 * picture.data[i + 2];
    for (let k = 0; k < 3; k++) picture.data[i + k] = (1 - .75 * heat) * grey + .75 * heat * (inferno[low][k] * (1 - part) + inferno[low + 1][k] * part);
  }
  pen.putImageData(picture, 0, 0);
};
const copied = ({canvas}, side) => { // at most `side` pixels long
  const scale = Math.min(1, side / Math.max(canvas.width, canvas.height));
  return drawn(canvas, Math.max(1, Math.round(canvas.width * scale)), Math.max(1, Math.round(canvas.height * scale))).canvas;
};
const calls = {
  async open(start) {
    about = start.about;
    ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
    const [runtime, graph] = await Promise.all([unpacked(start.runtime), unpacked(start.graph)]);
    ort.env.wasm.wasmBinary = runtime;
    const decoded = Object.entries(about.graphs).map(([name, text]) => [name, Uint8Array.from(atob(text), o => o.charCodeAt(0))]);
    for (const [name, o] of [['photo', graph], ...decoded]) await opens(name, o);
    await run(new Uint8Array(about.model_size ** 2 * 3)); // the first answer takes longest
  },
  async look({blob, language}) {
    const start = performance.now(), text = about.texts[language], picture = await opened(blob, about);
    const outputs = await run(seen(picture.image, about)), record = await answered(outputs, picture, about, text);
    const marked = !about.heels && record.most_probable, canvas = copied(picture, marked ? 640 : 960);
    record.milliseconds = performance.now() - start;
    if (marked) heated(canvas, Array.from(outputs.evidence.data).slice(...[0, 1].map(o => (CLASSES.indexOf(marked) + o) * outputs.evidence.size / 3)), about);
    const shown = marked || record.feet.some(o => o.possible.length) ? await canvas.convertToBlob({type: 'image/jpeg', quality: .85}) : '';
    return {record, [marked ? 'heat' : 'picture']: shown};
  },
  together: async ({numbers, language}) => ({record: await together(numbers, about.rule, about.texts[language])}),
};
const run = pixels => sessions.photo.run({pixels: new ort.Tensor('uint8', pixels, [1, about.model_size, about.model_size, 3])});
onmessage = async ({data: {turn, call, asked}}) => {
  try { postMessage({turn, value: await calls[call](asked)}); }
  catch (e) { postMessage({turn, reason: typeof e === 'string' ? e : 'other', failed: typeof e !== 'string' && String(e)}); }
};
