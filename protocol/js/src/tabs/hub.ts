/** The core's side: one core and the tabs that share it. */

import { RefusedError, type ClientEvent, type HistoryQuery, type TokenReason } from "../api.js";
import type { ChatId, OutboxId, UserId } from "../ids.js";
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
    };
    this.#core = openCore(config, world, owner, stores);
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
      void this.#core.then((core) => {
        this.#act(core, tab, message);
      });
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
        void this.#ask(core, message.method, message.args)
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
        tell(core, message.method, message.args);
    }
  }

  async #ask(core: Core, method: Asked, args: readonly unknown[]): Promise<unknown> {
    switch (method) {
      case "history":
        return core.history(args[0] as ChatId, args[1] as HistoryQuery);
      case "seqAt":
        return core.seqAt(args[0] as ChatId, args[1] as number);
      case "members":
        return core.members(args[0] as ChatId, args[1] as UserId | undefined);
      case "signOut":
        return core.signOut();
    }
  }

  /** Somebody signed out, for all tabs. */
  #gone(): void {
    for (const tab of this.#tabs) tab.post({ is: "gone" });
    this.#tabs.clear();
    this.#listening.clear();
    // The next tab to lead would begin anew what was just erased, if it got the lock before the word.
    this.empty(new Promise((resolve) => this.world.after(goneMs, resolve)));
  }

  /** Another version of the page takes over: what is open here is closed. */
  outdated(): void {
    for (const tab of this.#tabs) tab.post({ is: "outdated" });
    this.#tabs.clear();
    this.#listening.clear();
    this.empty(this.#core.then((core) => core.close()));
  }

  #leave(tab: Tab): void {
    this.#tabs.delete(tab);
    this.#listening.delete(tab);
    if (this.#tabs.size === 0) this.empty(this.#core.then((core) => core.close()));
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

function tell(core: Core, method: Told, args: readonly unknown[]): void {
  const [first, second] = args;
  switch (method) {
    case "retry":
      core.retry(first as OutboxId);
      break;
    case "discard":
      core.discard(first as OutboxId);
      break;
    case "typing":
      core.typing(first as ChatId, second === true);
      break;
    case "presence":
      core.presence(first as ChatId, second === true);
      break;
    case "preview":
      core.preview(first as readonly ChatId[]);
      break;
    case "authorize":
      core.authorize(first as string);
      break;
    case "connectNow":
      core.connectNow();
      break;
    case "wake":
      core.wake();
  }
}
