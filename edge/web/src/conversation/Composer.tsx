/** Where a message is written. What is typed stays until it is in the outbox, whatever is refused. */

import type { ChatId } from "@panda/client";
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useSyncExternalStore, type KeyboardEvent } from "react";
import { IconButton } from "../parts/Button";
import { useSession } from "../shell/services";
import { useAppSelector, type State } from "../state/store";
import { useLocale } from "../texts/locale";

/** `SPEC.md`, section 12: bytes of a message's text. */
export const TEXT_BYTES_MAX = 16_384;

/**
 * Characters up to which the field breaks lines. The time that a browser takes to break a text into lines grows with the
 * square of its length: with a megabyte each letter that is typed would take seconds. What is this long is no message.
 */
export const WRAPPED_CHARS_MAX = 4 * TEXT_BYTES_MAX;

const utf8 = new TextEncoder();

/** Bytes by which a text is too long; 0 if it may be sent. A text far beyond the limit is not encoded for that. */
export function bytesOver(text: string): number {
  if (text.length <= TEXT_BYTES_MAX / 3) return 0;
  if (text.length > TEXT_BYTES_MAX * 64) return text.length - TEXT_BYTES_MAX;
  return Math.max(0, utf8.encode(text).length - TEXT_BYTES_MAX);
}

/** With a keyboard on the screen, Enter is for new lines. */
const hasTouch = () => matchMedia("(pointer: coarse)").matches;

export interface ComposerProps {
  readonly chat: ChatId;
  readonly name: string;
}

export function Composer({ chat, name }: ComposerProps) {
  const { client, drafts } = useSession();
  const { t, dir } = useLocale();
  const text = useAppSelector((state: State) => state.drafts[chat] ?? "");
  const isKept = useSyncExternalStore(drafts.subscribe, drafts.isKept);
  // Told at once, not first when it is to be sent.
  const over = useMemo(() => bytesOver(text), [text]);
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  // With the chat itself: a moment later would take the focus from wherever somebody went by a key meanwhile.
  useLayoutEffect(() => {
    if (!hasTouch()) field.current?.focus();
  }, [chat]);
  useEffect(() => () => client.typing(chat, false), [client, chat]);

  const change = (next: string) => {
    drafts.set(chat, next);
    client.typing(chat, next !== "");
  };
  const send = () => {
    if (text.trim() === "" || over > 0) return;
    drafts.send(chat, text);
    client.typing(chat, false);
  };
  const press = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing || hasTouch()) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {over > 0 ? (
        <p className="composer-error" id={`${id}-error`} role="alert">
          {t.compose.tooLong(over, TEXT_BYTES_MAX)}
        </p>
      ) : isKept ? null : (
        <p className="composer-error" id={`${id}-error`}>
          {t.compose.notKept}
        </p>
      )}
      <div className="composer-row">
        <textarea
          ref={field}
          id={id}
          className={text.length > WRAPPED_CHARS_MAX ? "is-huge" : undefined}
          rows={1}
          dir={text === "" ? dir : "auto"}
          aria-label={t.compose.placeholder(name)}
          aria-invalid={over > 0}
          aria-describedby={over > 0 || !isKept ? `${id}-error` : undefined}
          placeholder={t.compose.placeholder(name)}
          value={text}
          onChange={(event) => change(event.target.value)}
          onKeyDown={press}
          onBlur={() => client.typing(chat, false)}
        />
        <IconButton type="submit" icon="send" className="send" label={t.compose.send} aria-disabled={text.trim() === ""} />
      </div>
    </form>
  );
}
