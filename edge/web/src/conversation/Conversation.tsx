/** One chat: who is in it, what was said, and where to say more. */

import type { ChatId, ChatSummary, OutboxEntry } from "@panda/client";
import { useEffect, useRef, useState } from "react";
import { Members } from "../members/Members";
import { Avatar } from "../parts/Avatar";
import { IconButton } from "../parts/Button";
import { Empty } from "../parts/Empty";
import { useTitle } from "../people/people";
import { go } from "../shell/router";
import { useSession } from "../shell/services";
import { chatIn } from "../state/chat_table";
import { useAppDispatch, useAppSelector } from "../state/store";
import { applied } from "../state/world";
import { useLocale } from "../texts/locale";
import { Announcer } from "./Announcer";
import { Composer } from "./Composer";
import { JumpToDate } from "./JumpToDate";
import { Timeline, type TimelineHandle } from "./Timeline";
import { TypingLine } from "./TypingLine";
import { usePresence } from "./usePresence";

const nothing: readonly OutboxEntry[] = [];
const isMessage = (entry: OutboxEntry) => entry.command.kind === "send";

interface HeadProps {
  readonly chat: ChatId;
  readonly summary: ChatSummary | undefined;
  readonly onJump: () => void;
  readonly isPanelOpen: boolean;
}

function Head({ chat, summary, onJump, isPanelOpen }: HeadProps) {
  const { t } = useLocale();
  const { title, person } = useTitle(summary);
  const here = usePresence(chat);
  const isDirect = summary?.info?.kind === "direct";
  const about = isDirect ? (here.length > 0 ? t.chat.here : t.chat.direct) : summary?.info ? t.chat.members(summary.info.members) : "";
  return (
    <header className="pane-head">
      <IconButton icon="back" className="only-narrow" label={t.back} onClick={() => go({ screen: "chats" })} />
      <span className={isDirect && here.length > 0 ? "is-here" : ""}>
        <Avatar name={title} seed={summary?.peer ?? chat} picture={person?.picture ?? null} />
      </span>
      <div className="pane-title">
        <h1>
          <bdi>{title}</bdi>
        </h1>
        <p>{about}</p>
      </div>
      <IconButton icon="calendar" label={t.chat.jump} onClick={onJump} />
      <IconButton
        icon="people"
        label={t.chat.showMembers}
        aria-expanded={isPanelOpen}
        onClick={() => go({ screen: "chat", chat, panel: isPanelOpen ? null : "members" })}
      />
    </header>
  );
}

export function Conversation({ chat, panel }: { chat: ChatId; panel: "members" | null }) {
  const dispatch = useAppDispatch();
  const { drafts } = useSession();
  const { t, refusal } = useLocale();
  const summary = useAppSelector((state) => chatIn(state.world.chats, chat));
  const timeline = useAppSelector((state) => state.world.timelines[chat]);
  const complete = useAppSelector((state) => state.world.complete);
  const entries = useAppSelector((state) => state.world.outbox[chat] ?? nothing);
  const { title } = useTitle(summary);
  const [isJumping, setIsJumping] = useState(false);
  const handle = useRef<TimelineHandle>(null);
  const isKnown = summary !== undefined;
  useEffect(() => {
    if (isKnown) dispatch(applied([{ type: "opened", chat }]));
  }, [dispatch, chat, isKnown]);
  useEffect(() => {
    document.title = `${title} – ${t.name}`;
  }, [title, t]);

  const isDamaged = summary?.refusal?.label === "damaged";
  const isRefused = summary?.following === "refused" && timeline?.head === 0;
  // Until the chat's bounds are known there is no saying how many rows there are.
  const isReady = timeline !== undefined && (timeline.head > 0 || summary?.following === "live");
  const why = isDamaged ? t.chat.damaged : isRefused && summary.refusal ? t.chat.refused(refusal(summary.refusal)) : null;
  return (
    <section className={`conversation ${panel === null ? "" : "has-panel"}`} aria-label={title}>
      <div className="conversation-main">
        <Head chat={chat} summary={summary} onJump={() => setIsJumping(true)} isPanelOpen={panel !== null} />
        {why === null ? null : (
          <p className="bar bar-warning" role="alert">
            {why}
          </p>
        )}
        {isReady ? (
          <Timeline
            chat={chat}
            name={title}
            summary={summary}
            events={timeline}
            pending={entries.some((entry) => !isMessage(entry)) ? entries.filter(isMessage) : entries}
            onEdit={(text) => drafts.putBack(chat, text)}
            handle={handle}
          />
        ) : (
          <div className="timeline">{complete && !isKnown ? <Empty title={t.nowhere.title} help={t.chat.missing} /> : null}</div>
        )}
        <TypingLine chat={chat} />
        {isReady ? <Announcer chat={chat} /> : null}
        {!isKnown ? (
          timeline ? <p className="composer-note">{t.chat.gone}</p> : null
        ) : summary.info?.role === "reader" ? (
          <p className="composer-note">{t.compose.readerOnly}</p>
        ) : (
          <Composer chat={chat} name={title} />
        )}
      </div>
      {panel === "members" && isKnown ? <Members chat={chat} summary={summary} /> : null}
      {isJumping ? (
        <JumpToDate
          chat={chat}
          head={timeline?.head ?? 0}
          onFound={(seq) => handle.current?.jumpTo(seq)}
          onClose={() => setIsJumping(false)}
        />
      ) : null}
    </section>
  );
}
