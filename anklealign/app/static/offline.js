// What only the page without a server does: it keeps itself, says which version it is, and when there is a newer one.
const keeper = props.keeper && navigator.serviceWorker;
if (keeper?.controller) keeper.oncontrollerchange = () => { find('.newer').hidden = false; }; // a newer version may be kept before this one has opened its model
answers.ready.then(() => {
  find('.version').textContent = props.version;
  keeper?.register(props.keeper).catch(console.warn); // without it the page answers, but needs the network again
}, () => tell(word('failed'), 'failed'));
find('.newer button').onclick = () => location.reload();
