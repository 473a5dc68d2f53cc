// Keeps the files of one version of the page, whole and as they were made, so that it opens without a network. It asks for nothing else.
const KEPT = `anklealign ${registration.scope} ${VERSION}`;
const kept = async () => {
  const place = await caches.open(KEPT);
  await Promise.all(Object.entries(FILES).map(async ([name, integrity]) => place.put(name, await fetch(name, {integrity, cache: 'no-cache'}))));
  await skipWaiting();
};
const tidied = async () => {
  const old = (await caches.keys()).filter(o => o.startsWith(`anklealign ${registration.scope} `) && o !== KEPT);
  await Promise.all(old.map(o => caches.delete(o)));
  await clients.claim();
};
const found = async request => await (await caches.open(KEPT)).match(request, {ignoreSearch: true}) ?? fetch(request);
addEventListener('install', event => event.waitUntil(kept()));
addEventListener('activate', event => event.waitUntil(tidied()));
addEventListener('fetch', event => {
  if (event.request.method === 'GET' && event.request.url.startsWith(registration.scope)) event.respondWith(found(event.request));
});
