/** One's own picture: to choose a file, to see how it will look, to send it, and to remove it. */

import type { Profile as Account, Refusal } from "@panda/client";
import { useEffect, useRef, useState, type ChangeEvent } from "react";
import { Avatar } from "../parts/Avatar";
import { Button } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { Dialog } from "../parts/Dialog";
import { refusalOf, useAccounts, useSession } from "../shell/services";
import { useLocale, type Locale } from "../texts/locale";

/** What the server takes (`edge/HTTP.md`): known before anything is sent. */
export const FILE_BYTES_MAX = 8 * 1024 * 1024;
export const SIDE_PX_MAX = 8_192;
export const PIXELS_MAX = 25_000_000;
const FORMATS = "image/jpeg,image/png,image/webp";
/** Pixels of a side of what is shown before it is sent: twice as many as it has on the screen. */
const PREVIEW_PX = 320;

interface Chosen {
  readonly file: File;
  readonly drawn: ImageBitmap;
}

/** What is wrong with a picture, in words for this one. */
export function pictureRefusal(refusal: Refusal, { t, refusal: say }: Locale): string {
  switch (refusal.label) {
    case "too_large":
      return t.picture.tooLarge;
    case "invalid_request":
      return t.picture.noPicture;
    case "rate_limited":
      return t.picture.tooMany;
    case "not_found":
      return t.picture.nowhere;
    case "outcome_unknown":
      return t.picture.tooSlow;
    default:
      return say(refusal);
  }
}

/** Looks at a file before it is sent; what is wrong with it comes as a text. */
async function look(file: File, { t }: Locale): Promise<Chosen | string> {
  if (file.size > FILE_BYTES_MAX) return t.picture.tooLarge;
  try {
    const drawn = await createImageBitmap(file);
    if (drawn.width <= SIDE_PX_MAX && drawn.height <= SIDE_PX_MAX && drawn.width * drawn.height <= PIXELS_MAX) return { file, drawn };
    drawn.close();
    return t.picture.tooLarge;
  } catch {
    return t.picture.noPicture;
  }
}

/** The square in the middle, as the server cuts it. On a canvas: the policy of the page lets no file in as an address. */
function Preview({ drawn }: { drawn: ImageBitmap }) {
  const { t } = useLocale();
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const side = Math.min(drawn.width, drawn.height);
    const [left, top] = [(drawn.width - side) / 2, (drawn.height - side) / 2];
    canvas.current?.getContext("2d")?.drawImage(drawn, left, top, side, side, 0, 0, PREVIEW_PX, PREVIEW_PX);
  }, [drawn]);
  return <canvas ref={canvas} className="picture-preview" width={PREVIEW_PX} height={PREVIEW_PX} role="img" aria-label={t.picture.preview} />;
}

function Sending({ chosen, onSaved, onClose }: { chosen: Chosen; onSaved: (account: Account) => void; onClose: () => void }) {
  const { http } = useAccounts();
  const locale = useLocale();
  const { t } = locale;
  /** The part that is sent, from 0 to 1; `null`: nothing is being sent. */
  const [sent, setSent] = useState<number | null>(null);
  const [error, setError] = useState<string | null>(null);
  const stop = useRef<AbortController | null>(null);
  const use = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    use.current?.focus();
    return () => stop.current?.abort();
  }, []);
  const send = async () => {
    if (sent !== null) return;
    const giveUp = new AbortController();
    stop.current = giveUp;
    setSent(0);
    setError(null);
    try {
      onSaved(await http.sendPicture(chosen.file, { onSent: setSent, signal: giveUp.signal }));
      onClose();
    } catch (caught) {
      if (!giveUp.signal.aborted) setError(pictureRefusal(refusalOf(caught), locale));
    } finally {
      setSent(null);
    }
  };
  // What is whole at the server is not taken back by going away.
  const isGone = sent === 1;
  return (
    <Dialog title={t.picture.title} {...(isGone ? {} : { onClose })}>
      <Preview drawn={chosen.drawn} />
      <p className="dialog-text">{t.picture.note}</p>
      {sent === null ? null : <progress className="progress" max={1} {...(isGone ? {} : { value: sent })} aria-label={t.picture.sending} />}
      <p className="hidden" role="status">
        {sent === null ? "" : isGone ? t.picture.finishing : t.picture.sending}
      </p>
      {error === null ? null : (
        <p className="form-error" role="alert">
          {error}
        </p>
      )}
      <div className="dialog-actions">
        <Button onClick={isGone ? undefined : onClose} aria-disabled={isGone}>
          {t.cancel}
        </Button>
        <Button ref={use} look="main" onClick={() => void send()} aria-disabled={sent !== null}>
          {sent === null ? t.picture.use : isGone ? t.picture.finishing : t.picture.sending}
        </Button>
      </div>
    </Dialog>
  );
}

export function Picture({ account, onSaved }: { account: Account; onSaved: (account: Account) => void }) {
  const { http } = useAccounts();
  const { directory } = useSession();
  const locale = useLocale();
  const { t } = locale;
  const input = useRef<HTMLInputElement>(null);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [isAsked, setIsAsked] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [said, setSaid] = useState("");
  useEffect(() => () => chosen?.drawn.close(), [chosen]);
  const take = (saved: Account, words: string) => {
    directory.learn(saved);
    onSaved(saved);
    setSaid(words);
  };
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    const file = event.target.files?.[0];
    // The same file may be chosen once more.
    event.target.value = "";
    if (!file) return;
    setError(null);
    setSaid("");
    void look(file, locale).then((looked) => (typeof looked === "string" ? setError(looked) : setChosen(looked)));
  };
  const remove = () => {
    setError(null);
    http.removePicture().then(
      (saved) => take(saved, t.picture.removed),
      (caught: unknown) => setError(pictureRefusal(refusalOf(caught), locale)),
    );
  };
  return (
    <div className="profile-who">
      <Avatar name={account.username} seed={account.id} picture={account.picture} size="large" isOwn />
      <div className="profile-name">
        <bdi>{account.username}</bdi>
        <div className="form-row">
          <input ref={input} type="file" accept={FORMATS} hidden onChange={choose} />
          <Button onClick={() => input.current?.click()} aria-describedby="picture-help">
            {account.picture === null ? t.picture.choose : t.picture.change}
          </Button>
          {account.picture === null ? null : <Button onClick={() => setIsAsked(true)}>{t.picture.remove}</Button>}
        </div>
        <p className="form-note" id="picture-help">
          {t.picture.help}
        </p>
        {error === null ? null : (
          <p className="form-error" role="alert">
            {error}
          </p>
        )}
        <span className="form-note" role="status">
          {said}
        </span>
      </div>
      {chosen ? <Sending chosen={chosen} onSaved={(saved) => take(saved, t.saved)} onClose={() => setChosen(null)} /> : null}
      {isAsked ? (
        <Confirm title={t.picture.remove} text={t.picture.removeAsk} action={t.picture.removeAction} onClose={() => setIsAsked(false)} onConfirm={remove} />
      ) : null}
    </div>
  );
}
