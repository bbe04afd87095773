/** One chat in the list: its name, what was said last, and how much is unread. */

import type { ChatId, ChatSummary, OutboxEntry } from "@panda/client";
import { memo } from "react";
import { useTyping } from "../conversation/TypingLine";
import { noticeOf } from "../conversation/notice";
import { timeOf } from "../conversation/Row";
import { Avatar } from "../parts/Avatar";
import { nameOf, usePerson, useTitle } from "../people/people";
import { Link } from "../shell/Link";
import { useClient } from "../shell/services";
import { chatIn } from "../state/chat_table";
import { useAppSelector, type State } from "../state/store";
import { useLocale, type Locale } from "../texts/locale";
import type { UserId } from "@panda/client";

/** Characters of a preview; more than a line has room for. */
const PREVIEW_CHARS = 160;
/** Above this a badge does not count. */
const BADGE_MAX = 99;

interface Preview {
  readonly mark: string;
  /** Who said it, if that has to be told. */
  readonly who: string;
  readonly text: string;
}

const shorten = (text: string) => text.slice(0, PREVIEW_CHARS).replaceAll(/\s+/gu, " ");

function lastWaiting(entries: readonly OutboxEntry[] | undefined): OutboxEntry | undefined {
  return entries?.findLast((entry) => entry.command.kind === "send" && entry.state !== "stored");
}

/** A draft, else what waits, else the last message. */
function previewOf(state: State, summary: ChatSummary, me: UserId, locale: Locale): Preview {
  const { t } = locale;
  const draft = state.drafts[summary.id];
  if (draft !== undefined && draft.trim() !== "") return { mark: t.chats.draft, who: "", text: shorten(draft) };
  const waiting = lastWaiting(state.world.outbox[summary.id]);
  if (waiting?.command.kind === "send") {
    return { mark: waiting.state === "failed" ? t.chats.failed : t.chats.sending, who: "", text: shorten(waiting.command.text) };
  }
  const { last } = summary;
  if (!last) return { mark: "", who: "", text: summary.following === "opening" ? t.chats.opening : t.chats.noMessages };
  if (last.kind !== "messageSent") return { mark: "", who: "", text: noticeOf(last, state.people, t) };
  const text = shorten(last.text);
  if (last.actor === me) return { mark: "", who: t.chats.by(t.you), text };
  if (summary.info?.kind === "direct") return { mark: "", who: "", text };
  return { mark: "", who: t.chats.by(nameOf(state.people, last.actor, t)), text };
}

function PreviewLine({ summary }: { summary: ChatSummary }) {
  const locale = useLocale();
  const me = useClient().user;
  usePerson(summary.last?.actor ?? null);
  const typing = useTyping(summary.id);
  const mark = useAppSelector((state) => previewOf(state, summary, me, locale).mark);
  const who = useAppSelector((state) => previewOf(state, summary, me, locale).who);
  const text = useAppSelector((state) => previewOf(state, summary, me, locale).text);
  if (typing !== "") return <span className="chat-preview is-typing">{typing}</span>;
  return (
    <span className="chat-preview">
      {mark === "" ? null : <b>{mark} </b>}
      {who === "" ? null : <bdi className="chat-preview-who">{who} </bdi>}
      <bdi>{text}</bdi>
    </span>
  );
}

export interface ChatRowProps {
  readonly chat: ChatId;
  readonly isOpen: boolean;
  /** When the list was drawn, for "today". */
  readonly now: number;
}

export const ChatRow = memo(function ChatRow({ chat, isOpen, now }: ChatRowProps) {
  const { t, short, count } = useLocale();
  const summary = useAppSelector((state) => chatIn(state.world.chats, chat));
  const { title, person } = useTitle(summary);
  if (!summary) return null;
  const { unread, unreadExact, last } = summary;
  return (
    <Link
      to={{ screen: "chat", chat, panel: null }}
      className={`chat-row ${unread > 0 ? "is-unread" : ""}`}
      aria-current={isOpen ? "page" : undefined}
      data-chat={chat}
    >
      <Avatar name={title} seed={summary.peer ?? chat} picture={person?.picture ?? null} />
      <span className="chat-title">
        <bdi>{title}</bdi>
      </span>
      {last ? (
        <time className="chat-time" dateTime={new Date(timeOf(last)).toISOString()}>
          {short(timeOf(last), now)}
        </time>
      ) : null}
      <PreviewLine summary={summary} />
      {unread > 0 ? (
        <span className="badge">
          <span aria-hidden="true">{unread > BADGE_MAX ? t.chats.unreadMany(count(BADGE_MAX)) : count(unread)}</span>
          <span className="hidden">, {t.chats.unread(unread, unreadExact)}</span>
        </span>
      ) : null}
    </Link>
  );
});
