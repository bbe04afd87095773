/**
 * The messages of one chat. A row is a seq, whether its event is loaded or not: so the whole history can be scrolled
 * through and jumped into, and only what is looked at is fetched.
 */

import type { ChatId, ChatSummary, OutboxEntry, Refusal } from "@panda/client";
import { useCallback, useEffect, useImperativeHandle, useState, type Ref } from "react";
import { Button } from "../parts/Button";
import { Empty } from "../parts/Empty";
import { Icon } from "../parts/Icon";
import { useVirtualRows } from "../parts/useVirtualRows";
import { useClient } from "../shell/services";
import { sessionOf } from "../state/link";
import { useAppDispatch, useAppSelector } from "../state/store";
import { eventAt, missingPages, type Timeline as Events } from "../state/timeline";
import { applied } from "../state/world";
import { isSameDay, useLocale } from "../texts/locale";
import { PageLoader } from "./page_loader";
import { EventRow, GapRow, isContinued, PendingRow, timeOf } from "./Row";
import { useMarkRead } from "./useMarkRead";

/** Rows that can be scrolled through at once: browsers draw nothing beyond some 17 million pixels. */
export const ROWS_MAX = 200_000;
/** Pixels of a row that was not drawn yet. */
const ROW_PX = 52;
/** Where a row lies that was jumped to, below the upper edge. */
const JUMP_PX = 72;

export interface TimelineHandle {
  /** Shows the event with this number. */
  readonly jumpTo: (seq: number) => void;
  readonly jumpToEnd: () => void;
}

export interface TimelineProps {
  readonly chat: ChatId;
  readonly name: string;
  readonly summary: ChatSummary | undefined;
  readonly events: Events;
  readonly pending: readonly OutboxEntry[];
  readonly onEdit: (text: string) => void;
  readonly handle: Ref<TimelineHandle>;
}

/** Where the unread messages began when the chat was opened: the line stays there while they are read. */
function useUnreadLine(summary: ChatSummary | undefined): number | null {
  const [line] = useState(() => (summary && summary.unread > 0 ? Math.max(summary.read + 1, summary.joined) : null));
  return line;
}

export function Timeline({ chat, name, summary, events, pending, onEdit, handle }: TimelineProps) {
  const client = useClient();
  const dispatch = useAppDispatch();
  const { t, count: say } = useLocale();
  const isDirect = summary?.info?.kind === "direct";
  const unreadFrom = useUnreadLine(summary);
  const [base, setBase] = useState(() => Math.max(1, events.head - ROWS_MAX + 1));
  const from = Math.max(base, events.beginsAt);
  const to = events.head - from < 2 * ROWS_MAX ? events.head : from + ROWS_MAX - 1;
  const eventRows = Math.max(0, to - from + 1);
  const shown = to === events.head ? pending : [];
  const count = eventRows + shown.length;
  const isUnreadFar = unreadFrom !== null && unreadFrom > from && unreadFrom <= to;
  const { rows, drawn, scroller, spacer, block } = useVirtualRows({
    count,
    estimate: ROW_PX,
    start: isUnreadFar ? { row: unreadFrom - from, top: JUMP_PX } : "end",
  });

  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [loader] = useState(() => new PageLoader(client, chat, dispatch, setRefusal));
  useEffect(() => loader.opened(), [loader]);
  const session = useAppSelector(sessionOf);
  useEffect(() => {
    if (session !== null) loader.again();
  }, [loader, session]);
  const first = from + drawn.from;
  const last = Math.min(to, from + drawn.to);
  useEffect(() => {
    loader.want(missingPages(events, first, last));
  }, [loader, events, first, last]);
  useEffect(() => {
    dispatch(applied([{ type: "viewed", chat, from: first, to: last }]));
  }, [dispatch, chat, first, last]);

  // A row that is not loaded yet was read by nobody.
  const isEndShown = drawn.isAtEnd && to === events.head && eventAt(events, events.head) !== null;
  const seen = useMarkRead(chat, summary, events.head, isEndShown);
  const jumpTo = useCallback(
    (seq: number) => {
      const target = Math.min(events.head, Math.max(events.beginsAt, seq));
      if (target >= from && target <= to) {
        rows.scrollTo(target - from, JUMP_PX);
        return;
      }
      // In a chat with more rows than can be shown at once: others around the one that is wanted.
      const begin = Math.max(events.beginsAt, Math.min(target - ROWS_MAX / 2, events.head - ROWS_MAX + 1));
      setBase(begin);
      rows.replace(Math.min(events.head, begin + ROWS_MAX - 1) - begin + 1, target - begin, JUMP_PX);
    },
    [rows, events.head, events.beginsAt, from, to],
  );
  const jumpToEnd = useCallback(() => {
    if (to !== events.head) jumpTo(events.head);
    rows.scrollToEnd();
  }, [rows, jumpTo, to, events.head]);
  useImperativeHandle(handle, () => ({ jumpTo, jumpToEnd }), [jumpTo, jumpToEnd]);

  const drawnRows = [];
  for (let row = drawn.from; row <= Math.min(drawn.to, count - 1); row += 1) {
    const seq = from + row;
    const entry = row >= eventRows ? shown[row - eventRows] : undefined;
    const event = entry ? null : eventAt(events, seq);
    const before = event ? eventAt(events, seq - 1) : null;
    const startsDay = event !== null && (before ? !isSameDay(timeOf(before), timeOf(event)) : seq === events.beginsAt);
    drawnRows.push(
      <article
        key={entry ? entry.id : seq}
        className="row"
        data-row={row}
        aria-posinset={seq - events.beginsAt + 1}
        aria-setsize={events.head - events.beginsAt + 1 + shown.length}
      >
        {row === 0 && !entry ? (
          <p className="begin">{from > events.beginsAt ? t.chat.bounded : events.beginsAt > 1 ? t.chat.beginHidden : t.chat.begin}</p>
        ) : null}
        {entry?.command.kind === "send" ? (
          <PendingRow entry={entry} text={entry.command.text} me={client.user} onEdit={onEdit} />
        ) : event ? (
          <EventRow
            event={event}
            me={client.user}
            isDirect={isDirect}
            isContinued={isContinued(event, before)}
            day={startsDay ? timeOf(event) : null}
            isUnread={seq === unreadFrom}
          />
        ) : (
          <GapRow row={seq} />
        )}
      </article>,
    );
  }
  const newBelow = drawn.isAtEnd ? 0 : Math.max(0, events.head - seen);
  return (
    <div className="timeline">
      <div ref={scroller} className="timeline-scroller" role="feed" aria-label={t.chat.messages(name)} tabIndex={0}>
        {count === 0 ? <Empty title={t.chat.empty} help={t.chat.emptyHelp} /> : null}
        <div ref={spacer} className="timeline-spacer" role="presentation">
          <div ref={block} className="timeline-block" role="presentation">
            {drawnRows}
          </div>
        </div>
      </div>
      {refusal && refusal.label !== "offline" ? (
        <div className="timeline-failed" role="alert">
          <p>{t.chat.loadFailed}</p>
          <Button onClick={() => loader.again()}>{t.chat.retryLoad}</Button>
        </div>
      ) : null}
      {drawn.isAtEnd && to === events.head ? null : (
        <button type="button" className="to-latest" onClick={jumpToEnd} aria-label={newBelow > 0 ? t.chat.newBelow(newBelow) : t.chat.latest} title={t.chat.latest}>
          <Icon name="down" />
          {newBelow > 0 ? <span aria-hidden="true">{newBelow > 99 ? t.chats.unreadMany(say(99)) : say(newBelow)}</span> : null}
        </button>
      )}
    </div>
  );
}
