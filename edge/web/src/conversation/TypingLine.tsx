/** Who types in this chat. By itself, in a place that is always there: nothing else is drawn for it and nothing jumps. */

import type { ChatId, UserId } from "@panda/client";
import { useEffect } from "react";
import { nameOf } from "../people/people";
import { useSession } from "../shell/services";
import { useAppSelector } from "../state/store";
import { useLocale } from "../texts/locale";

const nobody: readonly UserId[] = [];

export function useTyping(chat: ChatId): string {
  const { t } = useLocale();
  const { directory } = useSession();
  const typing = useAppSelector((state) => state.signals.typing[chat] ?? nobody);
  useEffect(() => {
    for (const user of typing.slice(0, 3)) directory.want(user);
  }, [directory, typing]);
  return useAppSelector((state) => {
    const typists = state.signals.typing[chat] ?? nobody;
    return typists.length === 0 ? "" : t.chat.typing(typists.map((user) => nameOf(state.people, user, t)));
  });
}

export function TypingLine({ chat }: { chat: ChatId }) {
  const typing = useTyping(chat);
  return (
    <p className="typing-line" role="status">
      {typing === "" ? null : (
        <>
          <span className="typing-dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          <bdi>{typing}</bdi>
        </>
      )}
    </p>
  );
}
