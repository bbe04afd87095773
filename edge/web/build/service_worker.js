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
      .then((names) => Promise.all(names.filter((name) => name.startsWith("panda-shell-") && name !== CACHE).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.mode === "navigate") {
    if (url.pathname === "/" || url.pathname === "/app" || url.pathname.startsWith("/app/")) {
      event.respondWith(newest(request, PAGE));
    }
    return;
  }
  if (SHELL.includes(url.pathname)) event.respondWith(isWorker(url.pathname) ? newest(request, request) : kept(request));
});

// What a browser runs under a policy of its own, that of the file.
const isWorker = (path) => path.startsWith("/assets/panda.worker-");

// The server's file if it is there soon, because it may be newer, or have a policy that names other servers; else the one
// that is kept.
async function newest(request, key) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(key, { ignoreVary: true });
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(PAGE_WAIT_MS) });
    // An error of a proxy is no page.
    if (response.ok) {
      if (known) await renew(cache, key, known.clone(), response.clone());
      return response;
    }
  } catch {
    // Away, or too slow: what is kept answers.
  }
  return known ?? Response.error();
}

// The same file takes over its new headers. Another one is of another page, whose other files are not kept here.
async function renew(cache, key, known, response) {
  const [before, now] = await Promise.all([known.text(), response.clone().text()]);
  // A storage that is full changes nothing for who looks at the page now.
  if (before === now) await cache.put(key, response).catch(() => undefined);
}

async function kept(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreVary: true })) ?? fetch(request);
}
