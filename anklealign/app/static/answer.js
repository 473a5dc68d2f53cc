// An answer as elements. Whatever is not ours becomes text, never markup.
const SPACE = Object.assign(document.createElement('div'), {innerHTML: '<svg></svg>'}).firstChild.namespaceURI;
const put = (o, attributes, children) => {
  for (const [k, v] of Object.entries(attributes)) if (v !== false && v != null) o.setAttribute(k, v === true ? '' : v);
  o.append(...children.flat().filter(o => o || o === 0));
  return o;
};
const make = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);
const shape = (tag, attributes = {}, ...children) => put(document.createElementNS(SPACE, tag), attributes, children);
const fill = (text, values) => text.replace(/\{(\w+)[^}]*\}/g, (_, key) => values[key]);
const whole = x => { const r = Math.round(x); return (Math.abs(x % 1) === .5 && r % 2 ? r - 1 : r) + 0; }; // as Python rounds
const shownProbability = (p, {answer: {decimal}}) => (p > .995 ? '> 0.99' : p < .005 ? '< 0.01' : p.toFixed(2)).replace('.', decimal);
const inWords = (foot, {heels, classes}) => { // `Foot.in_words`
  const who = heels[foot.side];
  if (foot.angle_deg === null) return `${who}: ${foot.reason}`;
  const [low, angle, high] = [foot.low_deg, foot.angle_deg, foot.high_deg].map(whole), end = o => `${o}°`.replace('-', '−');
  const turned = fill(heels[angle > 0 ? 'everted' : angle < 0 ? 'inverted' : 'upright'], {degrees: Math.abs(angle)});
  const names = foot.possible.map(o => classes[o].toLowerCase());
  const kind = foot.answer ? classes[foot.answer].toLowerCase() : fill(heels.between, {first: names.at(-1), last: names[0]});
  return fill(heels.measured, {who, turned, low: end(low), high: end(high), kind});
};
const sentences = (record, text) => {
  const feet = record.feet.map(o => inWords(o, text));
  return [...feet, ...record.reasons.filter(o => !feet.includes(o))];
};
const announced = (record, text) => { // the gist of an answer, to be spoken
  const {labels, classes} = text, together = record.width ? '' : `${record.name}: `, said = sentences(record, text);
  if (!record.answer) return together + [`${labels.none}.`, ...said].join(' ');
  return together + [`${classes[record.answer]}, ${labels.probability} ${shownProbability(record.probabilities[record.answer], text)}.`, ...said].join(' ');
};
const turnedMarks = ({upper, lower, side, vertical_deg}, angle, reach) => { // as `turned_marks`, and longer by `reach`
  const lean = ((side === 'left' ? -1 : 1) * angle + vertical_deg) * Math.PI / 180, half = reach * Math.hypot(lower[0] - upper[0], lower[1] - upper[1]) / 2;
  const [x, y, dx, dy] = [(upper[0] + lower[0]) / 2, (upper[1] + lower[1]) / 2, half * Math.sin(lean), half * Math.cos(lean)];
  return [[x - dx, y - dy], [x + dx, y + dy]];
};
const segment = ([[x1, y1], [x2, y2]]) => ({x1, y1, x2, y2});
const bandOf = foot => {
  const [a, b] = turnedMarks(foot, foot.low_deg, 1.6), [c, d] = turnedMarks(foot, foot.high_deg, 1.6), middle = [(foot.upper[0] + foot.lower[0]) / 2, (foot.upper[1] + foot.lower[1]) / 2];
  return [a, c, middle, d, b, middle].map(o => o.join()).join(' ');
};
const heelsOf = (record, picture, {labels, heels}) => { // the photo with a line on each heel; `movable` wakes it
  const {width, height} = record, r = Math.max(width, height) / 80;
  const group = (foot, i) => foot.angle_deg !== null && shape('g', {'data-foot': i},
    shape('polygon', {class: 'outline', points: foot.outline.join(' ')}), shape('polygon', {class: 'band', points: bandOf(foot)}),
    shape('line', {class: 'upright', ...segment(turnedMarks(foot, 0, 1.9))}), shape('line', {class: 'line', ...segment(turnedMarks(foot, foot.angle_deg, 1.6))}),
    ['upper', 'lower'].map(mark => shape('circle', {class: 'mark', 'data-mark': mark, cx: foot[mark][0], cy: foot[mark][1], r, tabindex: 0, role: 'slider',
      'aria-label': `${heels[foot.side]}: ${labels[mark]}`, 'aria-valuenow': whole(foot.angle_deg), 'aria-valuemin': -45, 'aria-valuemax': 45, 'aria-valuetext': `${whole(foot.angle_deg)}°`})));
  return make('figure', {class: 'heels'},
    shape('svg', {viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': labels.lines}, shape('image', {href: picture, width, height}), record.feet.map(group)),
    make('figcaption', {}, labels.drag),
    make('div', {class: 'buttons'}, make('button', {type: 'button', class: 'reset', hidden: true}, labels.reset), make('button', {type: 'button', class: 'save'}, labels.save),
      make('button', {type: 'button', class: 'save-picture'}, labels.save_picture)));
};
const barsOf = (record, text) => {
  const {labels, classes} = text;
  return make('ul', {class: record.answer ? 'bars' : 'bars none', role: 'list'}, Object.entries(record.probabilities).map(([o, share]) => {
    const bar = make('span');
    bar.style.width = `${(100 * share).toFixed(1)}%`;
    return make('li', {class: o === record.most_probable && 'top'}, make('span', {class: 'name'}, `${classes[o]} `, make('small', {}, labels[o])),
      make('span', {class: 'number'}, shownProbability(share, text)), make('span', {class: 'bar', 'aria-hidden': 'true'}, bar));
  }));
};
const answerOf = ({record, picture, heat}, text, rule) => { // elements; what is wrong with a picture that shows no heels from behind, and nothing else
  const {labels, classes} = text, feet = record.feet.map(o => inWords(o, text)), reasons = record.reasons.filter(o => !feet.includes(o));
  const advice = record.quality.map(o => o.advice).filter(o => !record.reasons.includes(o)), photo = record.width > 0, judged = Object.keys(record.probabilities).length > 0, measured = record.feet.some(o => o.angle_deg !== null);
  const list = (kind, items) => make('ul', {class: kind}, items.map(o => make('li', {}, o)));
  return [
    feet.length && make('ul', {class: 'feet', role: 'list'}, record.feet.map((o, i) => make('li', {'data-foot': i, class: !o.possible.length && 'none'}, feet[i]))),
    picture && measured && heelsOf(record, picture, text),
    make('p', {class: record.answer ? 'verdict' : 'verdict none'}, make('strong', {}, record.answer ? classes[record.answer] : measured ? labels.unsure : labels.none),
      record.answer && make('span', {}, `${labels.probability} ${shownProbability(record.probabilities[record.answer], text)}`), !photo && make('span', {}, record.name)),
    reasons.length && [make('h3', {}, labels.why), list('reasons', reasons)],
    judged && [make('h3', {}, record.answer ? labels.bars : labels.leaning), barsOf(record, text)],
    (record.answer || record.possible.length > 1) && [make('h3', {}, labels.set),
      make('p', {}, make('strong', {}, record.possible.map(o => classes[o]).join(', ')), ' ', make('small', {}, fill(labels.coverage, {share: whole(100 * rule.coverage), images: rule.images})))],
    photo && (judged || feet.length) && [make('h3', {}, labels.better), advice.length ? list('advice', advice) : make('p', {}, labels.fine)],
    heat && judged && make('figure', {}, make('img', {src: heat, alt: labels.marked}), make('figcaption', {}, fill(labels.where, {name: classes[record.most_probable]}))),
    make('p', {class: 'small'}, `${text.said.model}. ${text.said.disclaimer}`, photo && ` ${fill(labels.figures, {...record, milliseconds: whole(record.milliseconds)})}.`),
  ].flat().filter(Boolean);
};
const pictureOf = async (svg, lines) => { // a PNG: the photo with its lines, and the answer under it
  const {width, height} = svg.viewBox.baseVal, photo = make('img', {src: svg.querySelector('image').getAttribute('href')});
  await photo.decode();
  const scale = 960 / Math.max(width, height), font = 20, text = lines.flatMap(o => wrapped(o, Math.max(360, width * scale) / (.57 * font)));
  const canvas = make('canvas', {width: Math.max(360, width * scale), height: height * scale + font * (1.4 * text.length + 1)}), pen = canvas.getContext('2d');
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = '#1b2530';
  pen.font = `${font}px system-ui, sans-serif`;
  text.forEach((o, i) => pen.fillText(o, 8, height * scale + font * 1.4 * (i + 1)));
  pen.drawImage(photo, 0, 0, width * scale, height * scale);
  pen.scale(scale, scale);
  for (const o of svg.querySelectorAll('.outline, .upright, .line, .mark')) {
    const at = k => +o.getAttribute(k), style = getComputedStyle(o);
    pen.beginPath();
    if (o.tagName === 'circle') pen.arc(at('cx'), at('cy'), at('r'), 0, 7);
    else if (o.tagName === 'polygon') for (const {x, y} of [...o.points, o.points[0]].filter(Boolean)) pen.lineTo(x, y);
    else { pen.moveTo(at('x1'), at('y1')); pen.lineTo(at('x2'), at('y2')); }
    pen.fillStyle = style.fill;
    pen.strokeStyle = style.stroke;
    pen.lineWidth = parseFloat(style.strokeWidth) / scale;
    if (o.tagName === 'circle') pen.fill();
    pen.stroke();
  }
  return new Promise(done => canvas.toBlob(done, 'image/png'));
};
const wrapped = (line, most) => line.split(' ').reduce((rows, o) => (rows.at(-1).length + o.length < most ? rows.with(-1, `${rows.at(-1)} ${o}`.trim()) : [...rows, o]), ['']);
