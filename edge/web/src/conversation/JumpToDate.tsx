/** Goes to the first message of a day. The client finds it by bisection: some twenty small questions in a long chat. */

import type { ChatId } from "@panda/client";
import { useState, type SubmitEvent } from "react";
import { Button } from "../parts/Button";
import { Dialog } from "../parts/Dialog";
import { Field } from "../parts/Field";
import { useIsShown } from "../parts/useIsShown";
import { refusalOf, useClient } from "../shell/services";
import { useLocale } from "../texts/locale";

export interface JumpToDateProps {
  readonly chat: ChatId;
  readonly head: number;
  readonly onFound: (seq: number) => void;
  readonly onClose: () => void;
}

/** The day of today as a date field writes it. */
function today(): string {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

export function JumpToDate({ chat, head, onFound, onClose }: JumpToDateProps) {
  const client = useClient();
  const { t, refusal } = useLocale();
  const [date, setDate] = useState(today);
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const isShown = useIsShown();
  const find = async () => {
    // Midnight of that day here.
    const start = new Date(`${date}T00:00:00`).getTime();
    if (Number.isNaN(start)) return;
    setIsBusy(true);
    setError(null);
    try {
      const seq = await client.seqAt(chat, start * 1000);
      // Who closed it meanwhile wants to be nowhere else.
      if (!isShown()) return;
      if (seq > head) setError(t.chat.jumpNothing);
      else {
        onClose();
        onFound(seq);
      }
    } catch (caught) {
      setError(refusal(refusalOf(caught)));
    } finally {
      setIsBusy(false);
    }
  };
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!isBusy) void find();
  };
  return (
    <Dialog title={t.chat.jump} onClose={onClose}>
      <form className="dialog-form" onSubmit={submit}>
        <Field label={t.chat.jump} type="date" required value={date} onChange={(event) => setDate(event.target.value)} help={t.chat.jumpHelp} error={error} />
        <div className="dialog-actions">
          <Button onClick={onClose}>{t.cancel}</Button>
          <Button type="submit" look="main" aria-disabled={isBusy}>
            {t.chat.jumpAction}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
