// Keeps the shell, so that the page opens without a server and shows what was read before. `build/finish.js` writes in
// what the shell is. Nothing of the API is kept here: what people said is the client's matter, in its own store.

const SHELL = "SHELL";
const CACHE = `panda-shell-${"VERSION"}`;
/** The page stands for every address of the application. */
const PAGE = "/app";
/** A server that says nothing for so long is away: better the page of yesterday than none. */
const PAGE_WAIT_MS = 4_000;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll([PAGE, ...SHELL]))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then(forget)
      .then(() => self.clients.claim()),
  );
});

// Removes the shells of older pages: all of them if no page is open, else all but the last one, whose files such a page may
// still ask for.
async function forget(names) {
  const older = names.filter((name) => name.startsWith("panda-shell-") && name !== CACHE);
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  await Promise.all((pages.length > 0 ? older.slice(0, -1) : older).map((name) => caches.delete(name)));
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.mode === "navigate") {
    if (url.pathname === "/" || url.pathname === "/app" || url.pathname.startsWith("/app/")) {
      // Before this one is open: whether older ones still are.
      event.waitUntil(caches.keys().then(forget));
      event.respondWith(newest(request, PAGE));
    }
    return;
  }
  // Files under `/assets/` have names of their own in every version: those of an older page are in an older shell.
  if (SHELL.includes(url.pathname) || url.pathname.startsWith("/assets/")) {
    event.respondWith(isWorker(url.pathname) ? newest(request, request) : kept(request));
  }
});

// What a browser runs under a policy of its own, that of the file.
const isWorker = (path) => path.startsWith("/assets/panda.worker-");

// The server's file if it is there soon, because it may be newer, or have a policy that names other servers; else the one
// that is kept.
async function newest(request, key) {
  const cache = await caches.open(CACHE);
  const options = { ignoreVary: true };
  const own = await cache.match(key, options);
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(PAGE_WAIT_MS) });
    // An error of a proxy is no page.
    if (response.ok) {
      if (own) await renew(cache, key, own.clone(), response.clone());
      return response;
    }
  } catch {
    // Away, or too slow: what is kept answers.
  }
  // A worker of an older page is in an older shell.
  return own ?? (await caches.match(key, options)) ?? Response.error();
}

// The same file takes over its new headers. Another one is of another page, whose other files are not kept here.
async function renew(cache, key, known, response) {
  const [before, now] = await Promise.all([known.text(), response.clone().text()]);
  // A storage that is full changes nothing for who looks at the page now.
  if (before === now) await cache.put(key, response).catch(() => undefined);
}

async function kept(request) {
  const cache = await caches.open(CACHE);
  const options = { ignoreVary: true };
  return (await cache.match(request, options)) ?? (await caches.match(request, options)) ?? fetch(request);
}
