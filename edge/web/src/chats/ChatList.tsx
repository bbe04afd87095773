/** All chats, the newest first. Only the rows on the screen are drawn: there may be ten thousand. */

import type { ChatId, UserId } from "@panda/client";
import { useDeferredValue, useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { useStore } from "react-redux";
import { Avatar } from "../parts/Avatar";
import { IconButton } from "../parts/Button";
import { Empty } from "../parts/Empty";
import { Icon } from "../parts/Icon";
import { Mark } from "../parts/Mark";
import { nameOf, usePerson } from "../people/people";
import { Link } from "../shell/Link";
import { go } from "../shell/router";
import { useSession } from "../shell/services";
import type { ChatOrder } from "../state/chat_order";
import { chatIn } from "../state/chat_table";
import { useAppSelector, type State } from "../state/store";
import { useLocale } from "../texts/locale";
import type { Texts } from "../texts/en";
import { ChatRow } from "./ChatRow";
import { useNow } from "./useNow";
import { useWindow } from "./useWindow";

/** As in `chats.css`. */
export const ROW_PX = 72;

/** The title by which somebody looks for a chat. */
export function titleOf(state: State, chat: ChatId, t: Texts): string {
  const summary = chatIn(state.world.chats, chat);
  if (!summary) return "";
  if (summary.info?.kind === "group") return summary.info.name === "" ? t.chats.nameless : summary.info.name;
  return summary.peer === null ? "" : nameOf(state.people, summary.peer, t);
}

/** Rows of the list: all chats in their order, or those that were found. */
type Rows = Pick<ChatOrder, "length" | "slice"> & Iterable<ChatId>;

function matching(state: State, filter: string, t: Texts): Rows {
  const wanted = filter.trim().toLocaleLowerCase();
  if (wanted === "") return state.world.order;
  return [...state.world.order].filter((chat) => titleOf(state, chat, t).toLocaleLowerCase().includes(wanted));
}

const isSame = <T,>(a: readonly T[], b: readonly T[]) => a === b || (a.length === b.length && a.every((one, at) => one === b[at]));

/** An order is the same object while nothing moved: nothing is compared row by row but what was found. */
const areSameRows = (a: Rows, b: Rows) => a === b || (Array.isArray(a) && Array.isArray(b) && isSame<unknown>(a, b));

const nobody: readonly UserId[] = [];

/** The others of direct chats whose names are not known. */
function strangersOf({ world, people }: State): readonly UserId[] {
  return [...world.order].flatMap((chat) => {
    const peer = chatIn(world.chats, chat)?.peer ?? null;
    return peer !== null && people[peer] === undefined ? [peer] : [];
  });
}

export interface ChatListProps {
  readonly open: ChatId | null;
  readonly filterField: RefObject<HTMLInputElement | null>;
}

export function ChatList({ open, filterField }: ChatListProps) {
  const { client, directory } = useSession();
  const { t } = useLocale();
  const store = useStore<State>();
  const me = usePerson(client.user);
  const [filter, setFilter] = useState("");
  const wanted = useDeferredValue(filter);
  const chats = useAppSelector((state) => matching(state, wanted, t), areSameRows);
  const complete = useAppSelector((state) => state.world.complete);
  const isAny = useAppSelector((state) => state.world.order.length > 0);
  const now = useNow();
  const scroller = useRef<HTMLDivElement>(null);
  const { from, to } = useWindow(scroller, chats.length, ROW_PX);
  const shown = chats.slice(from, to + 1);
  const lacking = useAppSelector(
    (state) =>
      shown.filter((chat) => {
        const summary = chatIn(state.world.chats, chat);
        return summary?.last === null || summary?.info === null;
      }),
    isSame,
  );
  useEffect(() => {
    if (lacking.length > 0) client.preview(lacking);
  }, [client, lacking]);
  // Rows below the screen learn their names only for who looks for one.
  const isFiltered = wanted.trim() !== "";
  const strangers = useAppSelector((state) => (isFiltered ? strangersOf(state) : nobody), isSame);
  useEffect(() => {
    for (const peer of strangers) directory.want(peer);
  }, [directory, strangers]);
  /** What is to have the focus and is not drawn yet. */
  const toFocus = useRef<ChatId | null>(null);
  const focus = (chat: ChatId) => {
    const link = scroller.current?.querySelector<HTMLAnchorElement>(`a[data-chat="${chat}"]`);
    toFocus.current = link ? null : chat;
    link?.focus();
  };
  useLayoutEffect(() => {
    if (toFocus.current !== null) focus(toFocus.current);
  });
  const move = (event: KeyboardEvent) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    // What is typed counts, and not the list, which may still be behind it.
    const list = [...matching(store.getState(), filterField.current?.value ?? "", t)];
    const from = toFocus.current ?? (document.activeElement instanceof HTMLElement ? document.activeElement.dataset["chat"] : undefined);
    const at = list.findIndex((chat) => chat === from);
    const next = list[event.key === "ArrowDown" ? at + 1 : at - 1];
    if (next === undefined && !(event.key === "ArrowUp" && at === 0)) return;
    event.preventDefault();
    if (next === undefined) {
      toFocus.current = null;
      filterField.current?.focus();
      return;
    }
    focus(next);
    // A row is drawn when it is near the screen.
    if (toFocus.current !== null) scroller.current?.scrollTo({ top: Math.max(0, (at - 1) * ROW_PX) });
  };
  return (
    <nav className="chats" aria-label={t.chats.title} onKeyDown={move}>
      <header className="chats-head">
        <Link to={{ screen: "profile" }} className="chats-me" aria-label={t.chats.profile} title={t.chats.profile}>
          {me ? <Avatar name={me.username} seed={client.user} picture={me.picture} isOwn /> : <Mark size={40} />}
        </Link>
        <h1>{t.chats.title}</h1>
        <IconButton icon="plus" className="icon-button-main" label={t.chats.make} onClick={() => go({ screen: "new" })} />
      </header>
      <div className="chats-filter">
        <Icon name="search" size={18} />
        <input
          ref={filterField}
          type="search"
          aria-label={t.chats.filter}
          placeholder={t.chats.filter}
          value={filter}
          onChange={(event) => {
            toFocus.current = null;
            setFilter(event.target.value);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              // What is typed counts, and not the list, which may still be behind it.
              const chosen = toFocus.current ?? matching(store.getState(), event.currentTarget.value, t).slice(0, 1)[0];
              if (chosen !== undefined) go({ screen: "chat", chat: chosen, panel: null });
            }
            if (event.key === "Escape" && filter !== "") {
              event.stopPropagation();
              setFilter("");
            }
          }}
        />
      </div>
      <div ref={scroller} className="chats-scroller" tabIndex={chats.length === 0 ? -1 : 0} role="group" aria-label={t.chats.title}>
        {chats.length > 0 ? (
          <ul style={{ blockSize: chats.length * ROW_PX }}>
            {shown.map((chat, at) => (
              <li key={chat} style={{ insetBlockStart: (from + at) * ROW_PX }} aria-posinset={from + at + 1} aria-setsize={chats.length}>
                <ChatRow chat={chat} isOpen={chat === open} now={now} />
              </li>
            ))}
          </ul>
        ) : isAny ? (
          <p className="chats-none">{t.chats.noMatch(filter)}</p>
        ) : complete ? (
          <Empty title={t.chats.none} help={t.chats.noneHelp}>
            <Link to={{ screen: "new" }} className="button button-main">
              {t.chats.make}
            </Link>
          </Empty>
        ) : (
          <Waiting />
        )}
      </div>
    </nav>
  );
}

/** As high as rows are, so that nothing moves when they come. */
function Waiting() {
  const { t } = useLocale();
  return (
    <div className="chats-waiting" role="status">
      <span className="hidden">{t.loading}</span>
      {[0, 1, 2, 3, 4].map((row) => (
        <span key={row} aria-hidden="true" />
      ))}
    </div>
  );
}
