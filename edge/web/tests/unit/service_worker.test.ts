import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

type Handler = (event: { request?: Request; waitUntil: (done: Promise<unknown>) => void; respondWith: (answer: Promise<Response>) => void }) => void;

/** A browser's part for service workers: caches that stay, a server that has the files of one version, and open pages. */
function browser() {
  const kept = new Map<string, Map<string, Response>>();
  const state = { pages: 0, server: new Map<string, string>() };
  const path = (request: Request | string) => new URL(typeof request === "string" ? request : request.url, "http://panda.example").pathname;
  const fetched = (request: Request | string) => {
    const text = state.server.get(path(request));
    return Promise.resolve(new Response(text ?? "", { status: text === undefined ? 404 : 200 }));
  };
  const cacheOf = (files: Map<string, Response>) => ({
    addAll: async (names: string[]) => {
      for (const name of names) files.set(name, await fetched(name));
    },
    match: (request: Request | string) => Promise.resolve(files.get(path(request))?.clone()),
    put: (request: Request | string, response: Response) => {
      files.set(path(request), response);
      return Promise.resolve();
    },
  });
  const caches = {
    keys: () => Promise.resolve([...kept.keys()]),
    delete: (name: string) => Promise.resolve(kept.delete(name)),
    open: (name: string) => {
      const files = kept.get(name) ?? new Map<string, Response>();
      kept.set(name, files);
      return Promise.resolve(cacheOf(files));
    },
    match: (request: Request | string) => Promise.resolve([...kept.values()].flatMap((files) => files.get(path(request)) ?? [])[0]?.clone()),
  };
  /** Installs and activates the service worker of one version, as a browser does. */
  const deploy = async (version: string) => {
    const script = `/assets/page-${version}.js`;
    const worker = `/assets/panda.worker-${version}.js`;
    state.server = new Map([
      ["/app", `page ${version}`],
      [script, `script ${version}`],
      [worker, `worker ${version}`],
    ]);
    const handlers = new Map<string, Handler>();
    const source = readFileSync("build/service_worker.js", "utf8").replace('"SHELL"', JSON.stringify([script, worker])).replace('"VERSION"', JSON.stringify(version));
    const clients = {
      matchAll: () => Promise.resolve(Array.from({ length: state.pages }, () => ({}))),
      claim: () => Promise.resolve(),
    };
    const self = {
      addEventListener: (name: string, handler: Handler) => handlers.set(name, handler),
      skipWaiting: () => Promise.resolve(),
      clients,
      location: { origin: "http://panda.example" },
    };
    // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- it is a script of its own
    new Function("self", "caches", "fetch", source)(self, caches, fetched);
    const run = async (name: string, request?: Request) => {
      const waited: Promise<unknown>[] = [];
      let answer: Promise<Response> | undefined;
      handlers.get(name)?.({
        ...(request ? { request } : {}),
        waitUntil: (done) => waited.push(done),
        respondWith: (response) => {
          answer = response;
        },
      });
      await Promise.all(waited);
      return answer;
    };
    await run("install");
    await run("activate");
    return {
      asset: async (of: string) => (await run("fetch", new Request(`http://panda.example/assets/page-${of}.js`)))?.text(),
      worker: async (of: string) => (await run("fetch", new Request(`http://panda.example/assets/panda.worker-${of}.js`)))?.text(),
      navigate: async () => (await run("fetch", { method: "GET", mode: "navigate", url: "http://panda.example/app" } as Request))?.text(),
    };
  };
  return { deploy, state, kept };
}

test("a page that is open keeps its files over an update, and the ones before it go", async () => {
  const { deploy, state, kept } = browser();
  await deploy("1");
  state.pages = 1;
  await deploy("2");
  const third = await deploy("3");
  expect([...kept.keys()]).toEqual(["panda-shell-2", "panda-shell-3"]);
  // It is not on the server any more.
  expect(await third.asset("2")).toBe("script 2");
  expect(await third.asset("3")).toBe("script 3");
  // A worker, which is asked for at the server for its headers, is found all the same.
  expect(await third.worker("2")).toBe("worker 2");
  expect(await third.worker("3")).toBe("worker 3");
  state.pages = 0;
  expect(await third.navigate()).toBe("page 3");
  expect([...kept.keys()]).toEqual(["panda-shell-3"]);
});

test("without a page that is open an update removes what was before it", async () => {
  const { deploy, kept } = browser();
  await deploy("1");
  await deploy("2");
  expect([...kept.keys()]).toEqual(["panda-shell-2"]);
});
