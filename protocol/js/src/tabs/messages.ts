/** What a tab and the core say to each other, over a MessagePort, a BroadcastChannel or a call. All of it can be cloned. */

import type { ClientEvent, Command, Refusal, TokenReason } from "../api.js";
import type { OutboxId } from "../ids.js";
import type { CoreConfig } from "../core/core.js";
import type { Ending, Target } from "../core/sending.js";

/** Calls that are answered, and calls that are not. */
export type Asked = "history" | "seqAt" | "members" | "signOut";
export type Told = "retry" | "discard" | "typing" | "presence" | "preview" | "authorize" | "connectNow" | "wake";

export interface HubConfig extends CoreConfig {
  readonly storage: "indexedDb" | "memory";
}

export type ToCore =
  /** The first word of a tab: whose core it wants. */
  | { readonly is: "hello"; readonly config: HubConfig }
  /** A listener wants the whole state, then all changes. */
  | { readonly is: "listen"; readonly listener: number }
  | { readonly is: "do"; readonly id: OutboxId; readonly target: Target; readonly command: Command }
  | { readonly is: "ask"; readonly call: number; readonly method: Asked; readonly args: readonly unknown[] }
  | { readonly is: "tell"; readonly method: Told; readonly args: readonly unknown[] }
  /** `undefined`: not now. */
  | { readonly is: "token"; readonly question: number; readonly token: string | null | undefined }
  | { readonly is: "bye" };

export type FromCore =
  | { readonly is: "state"; readonly listener: number; readonly events: readonly ClientEvent[] }
  | { readonly is: "events"; readonly events: readonly ClientEvent[] }
  /** The outbox has it, and so has the store. */
  | { readonly is: "kept"; readonly id: OutboxId }
  | { readonly is: "ended"; readonly id: OutboxId; readonly ending: Ending }
  | { readonly is: "answer"; readonly call: number; readonly value: unknown }
  | { readonly is: "refused"; readonly call: number; readonly refusal: Refusal }
  | { readonly is: "tokenWanted"; readonly question: number; readonly reason: TokenReason }
  /** A worker's first word: the lock that it holds as long as it lives. */
  | { readonly is: "here"; readonly lock: string }
  /** Another version of the page goes on: this one has no core any more. */
  | { readonly is: "outdated" }
  /** Somebody signed out: there is nothing any more. */
  | { readonly is: "gone" };

/** A tab as the core sees it. */
export interface Tab {
  post(message: FromCore): void;
}
