/** Who types and who is here: what may be lost. Apart from chats, so that a signal draws no list anew. */

import type { ChatId, UserId } from "@panda/client";
import type { UnknownAction } from "@reduxjs/toolkit";
import { applied, forgotten, type Update } from "./world";

/** People of one chat whose signals are kept; whoever comes beyond is not shown. */
export const SIGNALLING_MAX = 64;

export interface Signals {
  readonly typing: Readonly<Record<ChatId, readonly UserId[]>>;
  /** Who said last that they are here. Nobody says that they crashed, so it is shown as "here lately". */
  readonly here: Readonly<Record<ChatId, readonly UserId[]>>;
}

export const noSignals: Signals = { typing: {}, here: {} };

export function signalsReducer(signals: Signals = noSignals, action: UnknownAction): Signals {
  if (forgotten.match(action)) return noSignals;
  return applied.match(action) ? action.payload.reduce(apply, signals) : signals;
}

function apply(signals: Signals, update: Update): Signals {
  switch (update.type) {
    case "typing":
      return changed(signals, "typing", update.chat, update.user, update.typing);
    case "presence":
      return changed(signals, "here", update.chat, update.user, update.here);
    case "connection":
      // Without a session nobody hears that somebody stopped.
      return update.connection.state === "online" || signals === noSignals ? signals : noSignals;
    default:
      return signals;
  }
}

function changed(signals: Signals, kind: keyof Signals, chat: ChatId, user: UserId, on: boolean): Signals {
  const users = signals[kind][chat] ?? [];
  if (users.includes(user) === on || (on && users.length >= SIGNALLING_MAX)) return signals;
  const next = on ? [...users, user] : users.filter((other) => other !== user);
  return { ...signals, [kind]: { ...signals[kind], [chat]: next } };
}
