// What only the page without a server does: it keeps itself, says which version it is, and when there is a newer one.
answers.ready.then(async () => {
  find('.version').textContent = props.version;
  if (!props.keeper || !navigator.serviceWorker) return;
  const before = navigator.serviceWorker.controller;
  navigator.serviceWorker.oncontrollerchange = () => { if (before) find('.newer').hidden = false; };
  await navigator.serviceWorker.register(props.keeper);
}).catch(() => tell(word('failed'), 'failed'));
find('.newer button').onclick = () => location.reload();
