/** The three ways to a core: in a SharedWorker, in the tab that leads, or here. */

import type { Hub } from "./hub.js";
import type { FromCore, Tab, ToCore } from "./messages.js";
import type { Link, LinkOwner } from "./remote.js";

/** Makes a hub in this tab; `empty` as in {@link Hub}. */
export type MakeHub = (empty: (closed: Promise<void>) => void) => Promise<Hub>;

/** The code of the core did not load: a network that is away, or a server with a newer page. Until then it is tried again. */
const loadAgainMs = 5_000;

async function loaded(
  makeHub: MakeHub,
  empty: (closed: Promise<void>) => void,
  isOver: () => boolean,
  remote: LinkOwner,
): Promise<Hub | null> {
  while (!isOver()) {
    const hub = await makeHub(empty).catch(() => null);
    if (hub !== null && !isOver()) return hub;
    if (hub === null) remote.stopped();
    // It was closed while it loaded: the core goes as it does when its last tab leaves.
    hub?.take({ post: () => undefined }, { is: "bye" });
    await new Promise((resolve) => setTimeout(resolve, loadAgainMs));
  }
  return null;
}

/** The core is in this tab, for it alone. */
export class OwnLink implements Link {
  #hub: Hub | null = null;
  #tab: Tab | null = null;

  constructor(readonly makeHub: MakeHub) {}

  open(remote: LinkOwner): void {
    this.#tab = inTurn(remote);
    void loaded(
      this.makeHub,
      () => undefined,
      () => this.#tab === null,
      remote,
    ).then((hub) => {
      this.#hub = hub;
      if (hub !== null) remote.up("alone");
    });
  }

  post(message: ToCore): void {
    if (this.#hub !== null && this.#tab !== null) this.#hub.take(this.#tab, message);
  }

  close(): void {
    this.#hub = this.#tab = null;
  }
}

/** The core is in a SharedWorker (`worker.ts`); where that fails to start, `other` takes over. */
export class WorkerLink implements Link {
  #worker: SharedWorker | null = null;
  readonly #closing = new AbortController();
  #other: Link | null = null;

  constructor(
    readonly makeWorker: () => SharedWorker,
    readonly makeOther: () => Link,
  ) {}

  open(remote: LinkOwner): void {
    const fail = (): void => {
      this.#worker = null;
      this.#other = this.makeOther();
      this.#other.open(remote);
    };
    try {
      const worker = this.makeWorker();
      this.#worker = worker;
      // It could not be loaded, or is not allowed.
      worker.onerror = () => {
        if (this.#worker === worker) fail();
      };
      worker.port.onmessage = ({ data }: MessageEvent<FromCore>) => {
        if (this.#worker !== worker) return;
        if (data.is === "here") this.#watch(worker, data.lock, remote);
        else remote.take(data);
      };
      queueMicrotask(() => {
        if (this.#worker === worker) remote.up("worker");
      });
    } catch {
      fail();
    }
  }

  /** The lock of a worker is free once that is dead, which it says in no other way: then another one takes its place. */
  #watch(worker: SharedWorker, lock: string, remote: LinkOwner): void {
    const { signal } = this.#closing;
    navigator.locks
      .request(lock, { mode: "shared", signal }, () => {
        if (this.#worker === worker) this.open(remote);
      })
      .catch(() => {
        // It was closed while it waited.
      });
  }

  post(message: ToCore): void {
    if (this.#other !== null) this.#other.post(message);
    else this.#worker?.port.postMessage(message);
  }

  close(): void {
    this.#closing.abort();
    this.#other?.close();
    this.#worker?.port.close();
    this.#worker = null;
  }
}

/** A tab that neither leads nor hears of who does in this time is alone with a worker that holds the lock. */
const leaderMs = 10_000;

/** What tabs say to each other, and a worker to them. */
export type Said =
  /** Who leads? */
  | { readonly is: "who"; readonly from: string }
  | { readonly is: "lead"; readonly from: string }
  /** Somebody wants the store for another version of the page. */
  | { readonly is: "giveWay" }
  | { readonly is: "toCore"; readonly from: string; readonly to: string; readonly message: ToCore }
  | { readonly is: "fromCore"; readonly from: string; readonly to: string; readonly message: FromCore };

/** The tab that holds the lock leads: it has the core. The browser gives the lock on when that tab closes or crashes. */
export class LockLink implements Link {
  readonly #id = [...crypto.getRandomValues(new Uint32Array(3))].map(String).join(".");
  readonly #channel: BroadcastChannel;
  readonly #waiting = new AbortController();
  #leader: string | null = null;
  #hub: Hub | null = null;
  /** The tabs that this one leads, itself included. */
  #tabs = new Map<string, Tab>();
  #closed = false;
  #isLeading = false;
  /** Takes over where the browser gives no locks. */
  #other: Link | null = null;

  constructor(
    readonly name: string,
    readonly makeHub: MakeHub,
    readonly makeOther: () => Link,
  ) {
    this.#channel = new BroadcastChannel(name);
  }

  open(remote: LinkOwner): void {
    this.#channel.onmessage = ({ data }: MessageEvent<Said>) => {
      if (!this.#closed) this.#hear(remote, data);
    };
    this.#say({ is: "who", from: this.#id });
    setTimeout(() => {
      if (!this.#closed && this.#leader === null && !this.#isLeading) remote.stopped();
    }, leaderMs);
    const { signal } = this.#waiting;
    navigator.locks
      .request(this.name, { signal }, () => (this.#closed ? undefined : this.#lead(remote)))
      .catch(() => {
        if (this.#isLeading) {
          // Somebody took the lock.
          this.#hub?.outdated();
          return;
        }
        // It was closed while it waited; or the browser, which keeps nothing for this page, gives it no locks either.
        if (this.#closed) return;
        this.#end();
        this.#other = this.makeOther();
        this.#other.open(remote);
      });
  }

  post(message: ToCore): void {
    if (this.#other !== null) {
      this.#other.post(message);
      return;
    }
    const own = this.#tabs.get(this.#id);
    if (this.#hub !== null && own !== undefined) this.#hub.take(own, message);
    else if (this.#leader !== null) this.#say({ is: "toCore", from: this.#id, to: this.#leader, message });
  }

  close(): void {
    this.#other?.close();
    // Who leads stays until its core is closed, which `empty` says.
    if (this.#hub === null) this.#end();
  }

  /** Leads until the core is closed. */
  #lead(remote: LinkOwner): Promise<void> {
    this.#isLeading = true;
    return new Promise((release) => {
      const empty = (closed: Promise<void>): void => {
        this.#hub = null;
        void closed.finally(() => {
          this.#end();
          release();
        });
      };
      void loaded(this.makeHub, empty, () => this.#closed, remote).then((hub) => {
        if (hub === null) {
          release();
          return;
        }
        this.#hub = hub;
        this.#leader = this.#id;
        this.#tabs.set(this.#id, inTurn(remote));
        this.#say({ is: "lead", from: this.#id });
        remote.up("leader");
      });
    });
  }

  #hear(remote: LinkOwner, said: Said): void {
    switch (said.is) {
      case "who":
        if (this.#hub !== null) this.#say({ is: "lead", from: this.#id });
        break;
      case "lead":
        if (this.#hub === null && this.#leader !== said.from) {
          this.#leader = said.from;
          remote.up("follower");
        }
        break;
      case "giveWay":
        this.#hub?.outdated();
        break;
      case "toCore":
        if (said.to !== this.#id || this.#hub === null) break;
        this.#hub.take(this.#tab(said.from), said.message);
        if (said.message.is === "bye") this.#tabs.delete(said.from);
        break;
      case "fromCore":
        if (said.to === this.#id && said.from === this.#leader) remote.take(said.message);
    }
  }

  #tab(id: string): Tab {
    let tab = this.#tabs.get(id);
    if (tab === undefined) {
      tab = {
        post: (message) => {
          this.#say({ is: "fromCore", from: this.#id, to: id, message });
        },
      };
      this.#tabs.set(id, tab);
    }
    return tab;
  }

  #say(said: Said): void {
    if (!this.#closed) this.#channel.postMessage(said);
  }

  #end(): void {
    this.#closed = true;
    this.#waiting.abort();
    this.#channel.close();
    this.#tabs.clear();
  }
}

/** A tab that is in the same thread: what the core says arrives a moment later, as from elsewhere, and cloned by nobody. */
function inTurn(remote: LinkOwner): Tab {
  return {
    post(message) {
      queueMicrotask(() => {
        remote.take(message);
      });
    },
  };
}
