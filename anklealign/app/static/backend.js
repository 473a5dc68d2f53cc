// Who answers: the server, or the graph in this page. Both give {record, picture, heat}, or {reason} if there is no answer.
const unbased = text => {
  const o = atob(text), bytes = new Uint8Array(o.length);
  for (let i = 0; i < o.length; i++) bytes[i] = o.charCodeAt(i);
  return bytes;
};
const base64 = blob => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(',')[1] ?? '');
  reader.onerror = failed;
  reader.readAsDataURL(blob);
});
const fromServer = () => ({
  ready: Promise.resolve(),
  look: async (blob, language) => server.look({photo: await base64(blob), language}),
  together: (numbers, language) => server.together({numbers, language}),
});
const fromGraph = ({worker, runtime, graph, about}) => { // a worker keeps the page awake; from a blob, it is under the page's own policy
  const part = ({id, address, integrity}) => id ? {bytes: unbased(document.getElementById(id).textContent).buffer} : {address: new URL(address, document.baseURI).href, integrity};
  const code = async ({bytes, address, integrity}) => bytes ?? (await fetch(address, {integrity})).text();
  const waiting = new Map(), desk = code(part(worker)).then(o => {
    const made = new Worker(URL.createObjectURL(new Blob([o], {type: 'text/javascript'})));
    made.onmessage = ({data: {turn, value, reason, failed}}) => {
      const [done, broken] = waiting.get(turn);
      waiting.delete(turn);
      if (failed) console.error(failed);
      if (reason && turn === 1) broken(reason); else done(reason ? {reason} : value);
    };
    made.onerror = () => { for (const [, broken] of waiting.values()) broken('failed'); };
    return made;
  });
  let turns = 0;
  const ask = async (call, asked) => {
    const made = await desk;
    return new Promise((done, broken) => { waiting.set(++turns, [done, broken]); made.postMessage({turn: turns, call, asked}); });
  };
  const ready = ask('open', {runtime: part(runtime), graph: part(graph), about: {...about, texts: props.words}});
  ready.catch(() => {});
  return {ready, look: (blob, language) => ready.then(() => ask('look', {blob, language})), together: (numbers, language) => ready.then(() => ask('together', {numbers, language}))};
};
const answers = props.graph ? fromGraph(props.graph) : fromServer();
