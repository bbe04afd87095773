/** One row of a conversation: an event, or what waits to become one; with what stands above it. */

import type { ChatEvent, OutboxEntry, UserId } from "@panda/client";
import { memo, useEffect, type ReactNode } from "react";
import { Avatar } from "../parts/Avatar";
import { Button } from "../parts/Button";
import { Icon } from "../parts/Icon";
import { usePerson } from "../people/people";
import { useClient, useSession } from "../shell/services";
import { useAppSelector } from "../state/store";
import { isSameDay, useLocale } from "../texts/locale";
import { MessageText } from "./MessageText";
import { namedIn, noticeOf } from "./notice";

/** Messages of one person that are this close together are one group with one name. */
const GROUP_MS = 5 * 60_000;

export const timeOf = (event: ChatEvent): number => Math.floor(event.timeUs / 1000);

/** Whether a message goes on with what the same person just said. */
export function isContinued(event: ChatEvent, before: ChatEvent | null): boolean {
  return (
    event.kind === "messageSent" &&
    before?.kind === "messageSent" &&
    before.actor === event.actor &&
    timeOf(event) - timeOf(before) < GROUP_MS &&
    isSameDay(timeOf(event), timeOf(before))
  );
}

function Above({ day, isUnread }: { day: number | null; isUnread: boolean }) {
  const { t, day: nameOfDay } = useLocale();
  return (
    <>
      {day === null ? null : (
        <div className="day">
          <span>{nameOfDay(day)}</span>
        </div>
      )}
      {isUnread ? (
        <div className="unread-line">
          <span>{t.chat.unreadFrom}</span>
        </div>
      ) : null}
    </>
  );
}

interface BubbleProps {
  readonly me: boolean;
  readonly who: UserId;
  readonly isDirect: boolean;
  readonly isContinued: boolean;
  readonly text: string;
  readonly ms: number;
  readonly state: "stored" | "queued" | "sent" | "failed" | null;
  readonly children?: ReactNode;
}

const signs = { stored: "check", queued: "clock", sent: "clock", failed: "warning" } as const;

function Bubble({ me, who, isDirect, isContinued: continued, text, ms, state, children }: BubbleProps) {
  const { t, time, full } = useLocale();
  const person = usePerson(who);
  const name = person?.username ?? t.notYetKnown;
  const hasName = !me && !isDirect;
  return (
    <div className={`message ${me ? "message-mine" : ""} ${continued ? "message-continued" : ""} ${state === "failed" ? "message-failed" : ""}`}>
      {hasName ? (
        <div className="message-avatar">{continued ? null : <Avatar name={name} seed={who} picture={person?.picture ?? null} size="small" />}</div>
      ) : null}
      <div className="bubble">
        {hasName && !continued ? (
          <p className="message-name">
            <bdi>{name}</bdi>
          </p>
        ) : (
          <span className="hidden">{me ? t.you : name}: </span>
        )}
        <MessageText text={text} />
        <p className="message-foot">
          <time dateTime={new Date(ms).toISOString()} title={full(ms)}>
            {time(ms)}
          </time>
          {state === null ? null : (
            <span className={`message-state message-state-${state}`} title={t.states[state]}>
              <Icon name={signs[state]} size={14} />
              <span className="hidden">{t.states[state]}</span>
            </span>
          )}
        </p>
        {children}
      </div>
    </div>
  );
}

function Notice({ event }: { event: Exclude<ChatEvent, { kind: "messageSent" }> }) {
  const { t } = useLocale();
  const { directory } = useSession();
  const text = useAppSelector((state) => noticeOf(event, state.people, t));
  useEffect(() => {
    for (const user of namedIn(event)) directory.want(user);
  }, [directory, event]);
  return (
    <p className="notice">
      <span>{text}</span>
    </p>
  );
}

export interface EventRowProps {
  readonly event: ChatEvent;
  readonly me: UserId;
  readonly isDirect: boolean;
  readonly isContinued: boolean;
  /** The day that begins with this event, if one does. */
  readonly day: number | null;
  readonly isUnread: boolean;
}

export const EventRow = memo(function EventRow({ event, me, isDirect, isContinued: continued, day, isUnread }: EventRowProps) {
  const isMine = event.actor === me;
  return (
    <>
      <Above day={day} isUnread={isUnread} />
      {event.kind === "messageSent" ? (
        <Bubble
          me={isMine}
          who={event.actor}
          isDirect={isDirect}
          isContinued={continued && !isUnread}
          text={event.text}
          ms={timeOf(event)}
          state={isMine ? "stored" : null}
        />
      ) : (
        <Notice event={event} />
      )}
    </>
  );
});

export interface PendingRowProps {
  readonly entry: OutboxEntry;
  readonly text: string;
  readonly me: UserId;
  /** Puts a text that was refused back where it can be changed. */
  readonly onEdit: (text: string) => void;
}

export const PendingRow = memo(function PendingRow({ entry, text, me, onEdit }: PendingRowProps) {
  const client = useClient();
  const { t, refusal } = useLocale();
  return (
    <Bubble me who={me} isDirect={false} isContinued={false} text={text} ms={entry.createdAtMs} state={entry.state}>
      {entry.refusal ? <p className="message-why">{refusal(entry.refusal)}</p> : null}
      {entry.state === "failed" ? (
        <div className="message-actions">
          <Button onClick={() => client.retry(entry.id)}>{t.states.retry}</Button>
          <Button
            onClick={() => {
              onEdit(text);
              client.discard(entry.id);
            }}
          >
            {t.states.copyBack}
          </Button>
          <Button onClick={() => client.discard(entry.id)}>{t.states.discard}</Button>
        </div>
      ) : null}
    </Bubble>
  );
});

/** Stands for an event that is not loaded yet. */
export const GapRow = memo(function GapRow({ row }: { row: number }) {
  return (
    <div className="gap" aria-hidden="true">
      <span className="gap-bubble" data-width={row % 4} />
    </div>
  );
});
