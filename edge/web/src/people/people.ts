/** Who somebody is, to a component: what is known now, and the wish to know it. */

import type { ChatSummary, UserId } from "@panda/client";
import { useEffect } from "react";
import { useSession } from "../shell/services";
import { useAppSelector } from "../state/store";
import type { People, Person } from "../state/people";
import type { Texts } from "../texts/en";
import { useLocale } from "../texts/locale";

export function usePerson(id: UserId | null): Person | null {
  const { directory } = useSession();
  useEffect(() => (id === null ? undefined : directory.show(id)), [directory, id]);
  return useAppSelector((state) => (id === null ? null : (state.people[id] ?? null)));
}

/** The name of somebody, for a sentence. */
export function nameOf(people: People, id: UserId, t: Texts): string {
  const person = people[id];
  if (person) return person.username;
  return person === null ? t.unknownPerson : t.notYetKnown;
}

export function useName(id: UserId): string {
  const { t } = useLocale();
  usePerson(id);
  return useAppSelector((state) => nameOf(state.people, id, t));
}

/** What a chat is called: a group by its name, a direct chat by the other person. */
export function useTitle(summary: ChatSummary | undefined): { readonly title: string; readonly person: Person | null } {
  const { t } = useLocale();
  const peer = summary?.peer ?? null;
  const person = usePerson(peer);
  const people = useAppSelector((state) => (peer === null ? "" : nameOf(state.people, peer, t)));
  if (!summary?.info) return { title: peer === null ? t.notYetKnown : people, person };
  if (summary.info.kind === "direct") return { title: peer === null ? t.notYetKnown : people, person };
  return { title: summary.info.name === "" ? t.chats.nameless : summary.info.name, person: null };
}
