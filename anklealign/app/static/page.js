const find = selector => element.querySelector(selector), all = selector => [...element.querySelectorAll(selector)];
const said = find('.said'), result = find('.result'), preview = find('.preview'), zone = find('.zone'), KEPT = 'anklealign-language';
const more = find('.more'), next = find('.next'), print = find('.print');
let language = 'en', given = [], adding = false, turn = 0; // given: the photos of one person, each with its reply

const texts = () => props.words[language], word = key => texts().said[key] ?? texts().page[key] ?? texts().heels[key];
const speak = chosen => {
  language = document.documentElement.lang = chosen;
  for (const o of all('[data-word]')) o.textContent = word(o.dataset.word);
  for (const o of all('[data-label]')) o.ariaLabel = word(o.dataset.label);
  for (const o of all('[data-alt]')) o.alt = word(o.dataset.alt);
  for (const o of all('[data-language]')) o.ariaPressed = o.dataset.language === chosen;
  document.title = word('title');
};
const tell = (text, kind = '') => { said.textContent = text; said.className = 'said ' + kind; };

const blobOf = address => new Blob([unbased(address.split(',')[1])], {type: address.slice(5, address.indexOf(';'))}); // of a `data:` address
const show = blob => {
  URL.revokeObjectURL(preview.src);
  preview.hidden = false;
  find('.no-preview').hidden = true;
  preview.src = URL.createObjectURL(blob);
};
preview.onerror = () => { preview.hidden = true; find('.no-preview').hidden = false; };

const refusal = reason => { // of a file, in a sentence
  const {refusals} = texts(), kind = reason.match(/^format (\w+)$/)?.[1];
  if (kind) return fill(refusals.format, {kind});
  return fill(refusals[Object.keys(refusals).find(o => reason.startsWith(o)) ?? 'other'], {megabytes: props.bytes / 1e6, photos: props.most});
};
let addresses = []; // of pictures in the answer that stands
const shownReply = reply => { // with addresses in place of pictures
  const address = o => {
    if (!(o instanceof Blob)) return o;
    addresses.push(URL.createObjectURL(o));
    return addresses.at(-1);
  };
  return {...reply, picture: address(reply.picture), heat: address(reply.heat)};
};
const said_of = reply => reply.record ? announced(reply.record, texts()) : reply.reason === 'failed' ? word('failed') : refusal(reply.reason);
const look = async blob => {
  if (blob.size > props.bytes) return {reason: 'heavy'};
  return await answers.look(blob, language).catch(() => null) ?? {reason: 'failed'};
};
const together = async () => {
  const numbers = given.map(({reply: {record: o}}) => o && {probabilities: o.probabilities, ood_score: o.strangeness, withholds: o.quality.some(o => o.silent)});
  return await answers.together(numbers.map(o => o ?? null), language).catch(() => null) ?? {reason: 'failed'};
};
const answerNodes = reply => answerOf(shownReply(reply), texts(), props.rule);
const cleared = () => { // nothing of a photo or an answer is left
  for (const o of addresses.splice(0)) URL.revokeObjectURL(o);
  delete said.dataset.word;
  result.replaceChildren();
  more.hidden = next.hidden = print.hidden = true;
};
const nextPerson = () => {
  turn++;
  given = [];
  cleared();
  URL.revokeObjectURL(preview.src);
  preview.removeAttribute('src');
  preview.hidden = find('.no-preview').hidden = true;
  said.dataset.word = 'empty';
  tell(word('empty'));
  scrollTo({top: 0, behavior: 'instant'});
  find('.choose').focus();
};
const ask = async (blobs, before = []) => {
  if (before.length + blobs.length > props.most) return tell(word('many'), 'failed');
  const mine = ++turn;
  given = [...before, ...blobs.map(blob => ({blob}))];
  cleared();
  show(given.at(-1).blob);
  tell(word('waiting'));
  for (const o of given) {
    o.reply ??= await look(o.blob);
    if (mine !== turn) return;
  }
  const answer = given.length > 1 ? await together() : given[0].reply;
  if (mine !== turn) return;
  next.hidden = false;
  if (!answer.record) {
    find('.no-preview').hidden = true;
    return tell(said_of(answer), 'failed');
  }
  tell(said_of(answer), 'hidden');
  result.replaceChildren(...answerNodes(answer));
  for (const o of result.querySelectorAll('.heels')) movable(o, structuredClone(answer.record));
  if (given.length > 1) {
    result.append(...given.map(each));
    show((given.findLast(o => o.reply.record) ?? given.at(-1)).blob);
  }
  more.hidden = print.hidden = false;
  const top = said.parentElement.getBoundingClientRect().top;
  if (top > .7 * innerHeight || top < 0) said.parentElement.scrollIntoView({behavior: matchMedia('(prefers-reduced-motion)').matches ? 'auto' : 'smooth'});
};
const degrees = ({side, upper, lower, vertical_deg}) => // as `line_angle`
  (side === 'left' ? -1 : 1) * (Math.atan2(lower[0] - upper[0], lower[1] - upper[1]) * 180 / Math.PI - vertical_deg);
const stands = angle => {
  const whole = Math.round(angle);
  return word(whole > 0 ? 'everted' : whole < 0 ? 'inverted' : 'upright').replace('{degrees}', Math.abs(whole));
};
const save = (blob, kind) => {
  const link = make('a', {href: URL.createObjectURL(blob), download: `${texts().answer.photo}.${kind}`});
  link.click();
  URL.revokeObjectURL(link.href);
};
const movable = (figure, record) => { // the marks of a photo, by mouse, finger and arrow keys
  const svg = figure.querySelector('svg'), reset = figure.querySelector('.reset');
  const before = structuredClone(record.feet), lines = figure.parentElement.querySelectorAll('.feet li'), texts = [...lines].map(o => o.textContent);
  const set = (o, values) => Object.entries(values).forEach(([k, v]) => o.setAttribute(k, v));
  const draw = (group, i) => {
    const foot = record.feet[i], {upper: [x1, y1], lower: [x2, y2]} = foot, mine = foot.set_by === 'person';
    const long = 1.6 / 2, x = (x1 + x2) / 2, y = (y1 + y2) / 2, up = foot.vertical_deg * Math.PI / 180, half = .95 * Math.hypot(x2 - x1, y2 - y1);
    set(group.querySelector('.line'), {x1: x + long * (x1 - x2), y1: y + long * (y1 - y2), x2: x + long * (x2 - x1), y2: y + long * (y2 - y1)});
    set(group.querySelector('.upright'), {x1: x - half * Math.sin(up), y1: y - half * Math.cos(up), x2: x + half * Math.sin(up), y2: y + half * Math.cos(up)});
    group.querySelector('.band').style.display = mine ? 'none' : '';
    for (const o of group.querySelectorAll('.mark')) {
      const [cx, cy] = foot[o.dataset.mark], angle = mine ? degrees(foot) : foot.angle_deg;
      set(o, {cx, cy, 'aria-valuenow': Math.round(angle), 'aria-valuetext': stands(angle)});
    }
    lines[i].textContent = mine ? `${word(foot.side)}: ${stands(foot.angle_deg)}, ${word('by_you')}` : texts[i];
    lines[i].classList.toggle('set', mine);
    reset.hidden = record.feet.every(o => o.set_by === 'model');
  };
  const move = (mark, x, y) => {
    const group = mark.parentElement, foot = record.feet[group.dataset.foot];
    foot[mark.dataset.mark] = [Math.min(Math.max(x, 0), record.width), Math.min(Math.max(y, 0), record.height)];
    Object.assign(foot, {angle_deg: degrees(foot), low_deg: null, high_deg: null, answer: '', probabilities: {}, possible: [], set_by: 'person'});
    draw(group, group.dataset.foot);
  };
  for (const mark of figure.querySelectorAll('.mark')) {
    mark.onpointerdown = event => { mark.setPointerCapture(event.pointerId); mark.focus(); event.preventDefault(); };
    mark.onpointermove = event => {
      if (!mark.hasPointerCapture(event.pointerId)) return;
      const {x, y} = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      move(mark, x, y);
    };
    mark.onkeydown = event => {
      const step = Math.max(record.width, record.height) / (event.shiftKey ? 60 : 400);
      const by = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]}[event.key];
      if (!by) return;
      event.preventDefault();
      const [x, y] = record.feet[mark.parentElement.dataset.foot][mark.dataset.mark];
      move(mark, x + by[0], y + by[1]);
    };
  }
  reset.onclick = () => {
    record.feet = structuredClone(before);
    for (const o of figure.querySelectorAll('g')) draw(o, o.dataset.foot);
  };
  figure.querySelector('.save').onclick = () => {
    save(new Blob([JSON.stringify(record, null, 1)], {type: 'application/json'}), 'json');
  };
  figure.querySelector('.save-picture').onclick = async () => {
    const mine = record.feet.some(o => o.set_by !== 'model'); // then the class is not that of these marks
    const verdict = mine ? [] : [[...figure.parentElement.querySelector('.verdict').children].map(o => o.textContent).join(', ')], small = `${word('model')}. ${word('disclaimer')}`;
    save(await pictureOf(svg, [...[...lines].map(o => o.textContent), ...verdict, small]), 'png');
  };
};
const each = ({blob, reply}, i) => {
  const told = `${i + 1}. ${said_of(reply)}`;
  if (!reply.record) return make('p', {class: 'unanswered'}, told);
  const box = make('details', {}, make('summary', {}, make('img', {alt: ''}), make('span', {}, told)), answerNodes(reply));
  const picture = box.querySelector('img');
  picture.onload = () => URL.revokeObjectURL(picture.src);
  picture.onerror = () => picture.remove();
  picture.src = URL.createObjectURL(blob);
  for (const o of box.querySelectorAll('.heels')) movable(o, structuredClone(reply.record));
  return box;
};

for (const o of all('[data-language]')) o.onclick = () => {
  speak(o.dataset.language);
  try { localStorage.setItem(KEPT, language); } catch { /* storage may be forbidden; then the choice lasts as long as the page */ }
  if (given.length) ask(given.map(o => o.blob));
};
const take = (files, before = []) => { if (files?.length) ask([...files], before); };
for (const o of all('.file, .snap')) o.onchange = () => { take(o.files, adding ? given : []); o.value = ''; };
const choose = keep => { adding = keep; find('.file').click(); };
find('.choose').onclick = () => choose(false);
more.onclick = () => choose(true);
next.onclick = nextPerson;
print.onclick = () => globalThis.print();
find('.examples').append(...props.examples.map((src, i) => make('li', {}, make('button', {type: 'button'}, make('img', {src, alt: ''}),
  make('span', {class: 'hidden'}, make('span', {'data-word': 'example'}), ` ${i + 1}`)))));
for (const o of all('.examples button')) o.onclick = () => ask([blobOf(o.firstElementChild.src)]);
addEventListener('paste', event => take(event.clipboardData?.files));
addEventListener('dragover', event => { event.preventDefault(); zone.classList.add('over'); });
addEventListener('dragleave', () => zone.classList.remove('over'));
addEventListener('drop', event => { event.preventDefault(); zone.classList.remove('over'); take(event.dataTransfer?.files); });

const camera = find('.camera'), box = find('dialog'), video = find('video'), touch = matchMedia('(pointer: coarse)').matches;
camera.hidden = !touch && !navigator.mediaDevices;
camera.onclick = async () => {
  adding = false;
  if (touch) return find('.snap').click();
  try { video.srcObject = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 1920}, height: {ideal: 1440}}}); }
  catch { return tell(word('no_camera'), 'failed'); }
  box.showModal();
};
box.onclose = () => { video.srcObject?.getTracks().forEach(o => o.stop()); video.srcObject = null; };
find('.cancel').onclick = () => box.close();
find('.take').onclick = () => {
  const canvas = Object.assign(document.createElement('canvas'), {width: video.videoWidth, height: video.videoHeight});
  canvas.getContext('2d').drawImage(video, 0, 0);
  canvas.toBlob(blob => { box.close(); ask([blob]); }, 'image/jpeg', .95);
};

let kept = null;
try { kept = localStorage.getItem(KEPT); } catch { /* as above */ }
speak([kept, ...navigator.languages.map(o => o.slice(0, 2))].find(o => o in props.words) ?? 'en');
