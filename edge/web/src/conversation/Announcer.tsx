/** Reads new messages of others out to who hears the page: the list itself is too restless for that. */

import type { ChatId } from "@panda/client";
import { useState } from "react";
import { nameOf } from "../people/people";
import { useClient } from "../shell/services";
import { useAppSelector } from "../state/store";
import { eventAt } from "../state/timeline";
import { useLocale } from "../texts/locale";

/** Characters of a message that are read out; the rest is in the list. */
const SAID_MAX = 300;

export function Announcer({ chat }: { chat: ChatId }) {
  const { t } = useLocale();
  const me = useClient().user;
  const event = useAppSelector((state) => {
    const timeline = state.world.timelines[chat];
    return timeline ? eventAt(timeline, timeline.head) : null;
  });
  // What was there already when the chat was opened is not news.
  const [atFirst, setAtFirst] = useState(event?.seq ?? null);
  if (atFirst === null && event) setAtFirst(event.seq);
  const isNews = event?.kind === "messageSent" && event.actor !== me && atFirst !== null && event.seq > atFirst;
  const said = useAppSelector((state) =>
    isNews ? t.chat.said(nameOf(state.people, event.actor, t), event.text.slice(0, SAID_MAX)) : "",
  );
  return (
    <p className="hidden" aria-live="polite">
      {said}
    </p>
  );
}
