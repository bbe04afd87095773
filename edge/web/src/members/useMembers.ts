/** The members of a chat, page by page; read anew when somebody came, went or got another role. */

import type { ChatId, Member, Refusal } from "@panda/client";
import { useCallback, useEffect, useState } from "react";
import { refusalOf, useClient } from "../shell/services";
import { sessionOf } from "../state/link";
import { useAppSelector } from "../state/store";
import { eventAt } from "../state/timeline";

/** Events behind the head among which a change of members is looked for. */
const LOOKED_AT = 32;

const changes = new Set(["memberAdded", "memberRemoved", "roleChanged"]);

/** The seq of the newest change of members that is in memory: another one means to read again. */
function useLastChange(chat: ChatId): number {
  return useAppSelector((state) => {
    const timeline = state.world.timelines[chat];
    if (!timeline) return 0;
    for (let seq = timeline.head; seq > timeline.head - LOOKED_AT && seq > 0; seq -= 1) {
      if (changes.has(eventAt(timeline, seq)?.kind ?? "")) return seq;
    }
    return 0;
  });
}

export interface MembersList {
  /** `null`: not read yet. */
  readonly members: readonly Member[] | null;
  readonly more: boolean;
  readonly refusal: Refusal | null;
  readonly next: () => void;
}

export function useMembers(chat: ChatId): MembersList {
  const client = useClient();
  const [members, setMembers] = useState<readonly Member[] | null>(null);
  const [more, setMore] = useState(false);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const lastChange = useLastChange(chat);
  const session = useAppSelector(sessionOf);
  const read = useCallback(
    async (before: readonly Member[]) => {
      const after = before.at(-1)?.user;
      const page = await (after === undefined ? client.members(chat) : client.members(chat, after));
      return { members: [...before, ...page.members], more: page.more };
    },
    [client, chat],
  );
  useEffect(() => {
    let isWanted = true;
    read([])
      .then((page) => {
        if (!isWanted) return;
        setMembers(page.members);
        setMore(page.more);
        setRefusal(null);
      })
      .catch((error: unknown) => isWanted && setRefusal(refusalOf(error)));
    return () => {
      isWanted = false;
    };
  }, [read, lastChange, session]);
  const next = () => {
    read(members ?? [])
      .then((page) => {
        setMembers(page.members);
        setMore(page.more);
      })
      .catch((error: unknown) => setRefusal(refusalOf(error)));
  };
  return { members, more, refusal, next };
}
