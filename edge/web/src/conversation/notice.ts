/** What an event says that is no message, in words. */

import type { ChatEvent, UserId } from "@panda/client";
import type { People } from "../state/people";
import { nameOf } from "../people/people";
import type { Texts } from "../texts/en";

/** Whose names the words need. */
export function namedIn(event: ChatEvent): readonly UserId[] {
  switch (event.kind) {
    case "memberAdded":
    case "memberRemoved":
    case "roleChanged":
      return event.actor === event.member ? [event.actor] : [event.actor, event.member];
    case "chatCreated":
    case "chatRenamed":
    case "messageSent":
      return [event.actor];
    case "erased":
    case "unknown":
      return [];
  }
}

export function noticeOf(event: Exclude<ChatEvent, { kind: "messageSent" }>, people: People, t: Texts): string {
  const name = (id: UserId) => nameOf(people, id, t);
  const { notices } = t;
  switch (event.kind) {
    case "chatCreated":
      return event.chatKind === "direct" ? notices.direct(name(event.actor)) : notices.created(name(event.actor), event.name);
    case "memberAdded":
      return event.member === event.actor ? notices.joined(name(event.member)) : notices.added(name(event.actor), name(event.member));
    case "memberRemoved":
      return event.member === event.actor ? notices.left(name(event.member)) : notices.removed(name(event.actor), name(event.member));
    case "roleChanged":
      return notices.role(name(event.actor), name(event.member), t.roles[event.role]);
    case "chatRenamed":
      return notices.renamed(name(event.actor), event.name);
    case "erased":
      return notices.erased;
    case "unknown":
      return notices.unknown;
  }
}
