/** Tells a chat that somebody looks at it, while somebody does; who just came is answered, so that both know. */

import type { ChatId, UserId } from "@panda/client";
import { useEffect } from "react";
import { useClient } from "../shell/services";
import { sessionOf } from "../state/link";
import { useAppSelector } from "../state/store";
import { useIsWatched } from "./useMarkRead";

const nobody: readonly UserId[] = [];

export function usePresence(chat: ChatId): readonly UserId[] {
  const client = useClient();
  const isWatched = useIsWatched();
  const session = useAppSelector(sessionOf);
  const here = useAppSelector((state) => state.signals.here[chat] ?? nobody);
  const others = here.length;
  useEffect(() => {
    if (session !== null && isWatched) client.presence(chat, true);
  }, [client, chat, session, isWatched, others]);
  useEffect(() => {
    if (!isWatched) return;
    return () => client.presence(chat, false);
  }, [client, chat, isWatched]);
  return here;
}
