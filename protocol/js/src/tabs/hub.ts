/** The core's side: one core and the tabs that share it. */

import { RefusedError, type ClientEvent, type TokenReason } from "../api.js";
import { localRefusal } from "../refusals.js";
import { openCore, type Core } from "../core/core.js";
import type { Surroundings } from "../core/surroundings.js";
import type { StoreSource } from "../storage/store.js";
import type { Asked, HubConfig, Tab, ToCore, Told } from "./messages.js";

/** A tab that does not answer for its token in this time is passed over: it may be frozen, or gone without a word. */
const tokenMs = 15_000;

/** For so long nobody takes over what somebody signed out of. */
const goneMs = 500;

export class Hub {
  /** The one that spoke last is the last one. */
  #tabs = new Set<Tab>();
  /** Those that hear what happens. */
  #listening = new Set<Tab>();
  #questions = new Map<number, (token: string | null | undefined) => void>();
  #lastQuestion = 0;
  readonly #core: Promise<Core>;

  constructor(
    config: HubConfig,
    readonly world: Surroundings,
    stores: StoreSource,
    /** Nobody needs it any more. The promise: when everything is closed. */
    readonly empty: (closed: Promise<void>) => void,
  ) {
    const owner = {
      token: (reason: TokenReason) => this.#token(reason),
      happened: (events: readonly ClientEvent[]) => {
        for (const tab of this.#listening) tab.post({ is: "events", events });
      },
      outdated: () => {
        // Without tabs it is closed already.
        if (this.#tabs.size > 0) this.outdated();
      },
    };
    this.#core = openCore(config, world, owner, stores);
    this.#core.catch(owner.outdated);
  }

  /** What a tab says. Messages of one tab are taken in their order. */
  take(tab: Tab, message: ToCore): void {
    this.#tabs.delete(tab);
    this.#tabs.add(tab);
    if (message.is === "token") {
      this.#questions.get(message.question)?.(message.token);
      this.#questions.delete(message.question);
    } else if (message.is === "bye") this.#leave(tab);
    // Handlers of one promise run in the order in which they came.
    else if (message.is !== "hello")
      void this.#core.then(
        (core) => {
          this.#act(core, tab, message);
        },
        () => undefined,
      );
  }

  #act(core: Core, tab: Tab, message: Exclude<ToCore, { readonly is: "token" | "bye" | "hello" }>): void {
    switch (message.is) {
      case "listen":
        tab.post({ is: "state", listener: message.listener, events: core.snapshot() });
        this.#listening.add(tab);
        break;
      case "do":
        core.submit(message.id, message.target, message.command, {
          kept: () => {
            tab.post({ is: "kept", id: message.id });
          },
          ended: (ending) => {
            tab.post({ is: "ended", id: message.id, ending });
          },
        });
        break;
      case "ask":
        void Promise.resolve(call(core, message.method, message.args))
          .then(
            (value) => {
              tab.post({ is: "answer", call: message.call, value });
            },
            (error: unknown) => {
              const refusal = error instanceof RefusedError ? error.refusal : localRefusal("storage");
              tab.post({ is: "refused", call: message.call, refusal });
            },
          )
          .then(() => {
            if (message.method === "signOut") this.#gone();
          });
        break;
      case "tell":
        call(core, message.method, message.args);
    }
  }

  /** Somebody signed out, for all tabs. */
  #gone(): void {
    // The next tab to lead would begin anew what was just erased, if it got the lock before the word.
    this.#dismiss("gone", new Promise((resolve) => this.world.after(goneMs, resolve)));
  }

  /** Another version of the page takes over: what is open here is closed. */
  outdated(): void {
    this.#dismiss("outdated", this.#close());
  }

  #dismiss(is: "gone" | "outdated", closed: Promise<void>): void {
    for (const tab of this.#tabs) tab.post({ is });
    this.#tabs.clear();
    this.#listening.clear();
    this.empty(closed);
  }

  #close(): Promise<void> {
    return this.#core.then(
      (core) => core.close(),
      () => undefined,
    );
  }

  #leave(tab: Tab): void {
    this.#tabs.delete(tab);
    this.#listening.delete(tab);
    if (this.#tabs.size === 0) this.empty(this.#close());
  }

  /** Asks the tabs, the one that spoke last first, until one knows. */
  async #token(reason: TokenReason): Promise<string | null> {
    let nobodyKnows = true;
    for (const tab of [...this.#tabs].reverse()) {
      const token = await new Promise<string | null | undefined>((resolve) => {
        const question = ++this.#lastQuestion;
        const cancel = this.world.after(tokenMs, () => {
          this.#questions.delete(question);
          resolve(undefined);
        });
        this.#questions.set(question, (answer) => {
          cancel();
          resolve(answer);
        });
        tab.post({ is: "tokenWanted", question, reason });
      });
      if (typeof token === "string") return token;
      if (token === null) nobodyKnows = false;
    }
    if (nobodyKnows) throw new RefusedError(localRefusal("unreachable"));
    return null;
  }
}

/** What a tab calls by name. Tabs of this origin say it, and their client (`remote.ts`) gave it its types. */
function call(core: Core, method: Asked | Told, args: readonly unknown[]): unknown {
  return (core as unknown as Record<string, (...args: readonly unknown[]) => unknown>)[method]?.(...args);
}
