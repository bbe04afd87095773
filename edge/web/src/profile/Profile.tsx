/** One's own profile, and what somebody chooses for this browser. */

import type { Profile as Account, ProfileChanges } from "@panda/client";
import { useEffect, useState, type SubmitEvent } from "react";
import { LinkedAccounts } from "../account/providers/LinkedAccounts";
import { isKeptPicture } from "../parts/Avatar";
import { Button, IconButton } from "../parts/Button";
import { Choice } from "../parts/Choice";
import { Confirm } from "../parts/Confirm";
import { Field } from "../parts/Field";
import { Keys } from "../shell/Keys";
import { Link } from "../shell/Link";
import { go } from "../shell/router";
import { refusalOf, useAccounts, useSession } from "../shell/services";
import { useSetting } from "../shell/settings";
import { sessionOf } from "../state/link";
import { useAppSelector } from "../state/store";
import { useLocale } from "../texts/locale";
import type { Refusal } from "@panda/client";
import { Picture } from "./Picture";

const PICTURE_BYTES_MAX = 2_048;

/** Only what a browser shows on a page over TLS. */
export function isPicture(address: string): boolean {
  return address.startsWith("https://") && URL.canParse(address) && new TextEncoder().encode(address).length <= PICTURE_BYTES_MAX;
}

/** What of a picture is an address that somebody named. */
const namedAddress = (picture: string | null): string => (picture === null || isKeptPicture(picture) ? "" : picture);

function AccountForm({ account, onSaved }: { account: Account; onSaved: (account: Account) => void }) {
  const accounts = useAccounts();
  const { http } = accounts;
  const { directory } = useSession();
  const { t, refusal: say } = useLocale();
  const [username, setUsername] = useState(account.username);
  const [email, setEmail] = useState(account.email ?? "");
  const [picture, setPicture] = useState(namedAddress(account.picture));
  const [pictureBefore, setPictureBefore] = useState(account.picture);
  /** Laid open from the beginning where there is something in it; who folds it afterwards is not corrected. */
  const [hasAddress] = useState(picture !== "");
  const [isBusy, setIsBusy] = useState(false);
  const [isSaved, setIsSaved] = useState(false);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  if (account.picture !== pictureBefore) {
    // It was sent or removed above.
    setPictureBefore(account.picture);
    setPicture(namedAddress(account.picture));
  }
  const isPictureWrong = picture !== "" && !isPicture(picture.trim());
  const take = (read: Account) => {
    accounts.renamed(read.username);
    onSaved(read);
  };
  const save = async () => {
    const changes: ProfileChanges = {
      ...(username.trim() === account.username ? {} : { username: username.trim() }),
      ...(email.trim() === (account.email ?? "") ? {} : { email: email.trim() === "" ? null : email.trim() }),
      ...(picture.trim() === namedAddress(account.picture) ? {} : { picture: picture.trim() === "" ? null : picture.trim() }),
    };
    setIsBusy(true);
    setRefusal(null);
    setIsSaved(false);
    try {
      const saved = Object.keys(changes).length === 0 ? account : await http.updateProfile(changes, account.version);
      directory.learn(saved);
      setIsSaved(true);
      take({ ...saved, email: saved.email ?? (email.trim() === "" ? null : email.trim()) });
    } catch (error) {
      const why = refusalOf(error);
      setRefusal(why);
      // What is there now is what the next attempt changes.
      if (why.label === "version_conflict") await http.user("me").then(take, (failed: unknown) => setRefusal(refusalOf(failed)));
    } finally {
      setIsBusy(false);
    }
  };
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!isBusy && !isPictureWrong) void save();
  };
  const of = (field: string) => (refusal?.field === field ? say(refusal) : null);
  const isOther = refusal !== null && !["username", "email", "picture"].includes(refusal.field ?? "");
  return (
    <form className="form" onSubmit={submit}>
      <Field label={t.signIn.username} help={t.signUp.usernameHelp} required minLength={3} maxLength={32} autoComplete="username" spellCheck={false} dir="ltr" value={username} error={of("username")} onChange={(event) => setUsername(event.target.value)} />
      <Field label={t.signUp.email} mark={`(${t.optional})`} type="email" autoComplete="email" dir="ltr" value={email} error={of("email")} onChange={(event) => setEmail(event.target.value)} />
      <details className="more" open={hasAddress}>
        <summary>{t.profile.pictureElsewhere}</summary>
        <Field label={t.profile.picture} mark={`(${t.optional})`} help={t.profile.pictureHelp} type="url" autoComplete="off" dir="ltr" value={picture} error={isPictureWrong ? t.profile.pictureForm : of("picture")} onChange={(event) => setPicture(event.target.value)} />
      </details>
      {isOther ? (
        <p className="form-error" role="alert">
          {refusal.label === "version_conflict" ? t.profile.changed : say(refusal)}
        </p>
      ) : null}
      <div className="form-row">
        <Button type="submit" look="main" aria-disabled={isBusy}>
          {t.save}
        </Button>
        <span role="status">{isSaved ? t.saved : ""}</span>
      </div>
    </form>
  );
}

function Look() {
  const { t } = useLocale();
  const [theme, setTheme] = useSetting("theme");
  const [language, setLanguage] = useSetting("language");
  const [pictures, setPictures] = useSetting("pictures");
  return (
    <section className="form" aria-labelledby="profile-look">
      <h2 id="profile-look">{t.profile.look}</h2>
      <Choice
        label={t.profile.theme}
        value={theme}
        onChange={setTheme}
        options={(["system", "light", "dark"] as const).map((value) => ({ value, label: t.profile.themes[value] }))}
      />
      <Choice
        label={t.profile.language}
        value={language}
        onChange={setLanguage}
        options={[
          { value: "system", label: t.profile.languages.system },
          { value: "en", label: t.profile.languages.en, lang: "en" },
          { value: "ar", label: t.profile.languages.ar, lang: "ar" },
        ]}
      />
      <label className="check">
        <input type="checkbox" checked={pictures === "on"} onChange={(event) => setPictures(event.target.checked ? "on" : "off")} aria-describedby="profile-pictures" />
        <span>{t.profile.pictures}</span>
      </label>
      <p className="form-note" id="profile-pictures">
        {t.profile.picturesHelp}
      </p>
    </section>
  );
}

function SignOut() {
  const accounts = useAccounts();
  const { t } = useLocale();
  const [isAsked, setIsAsked] = useState(false);
  const unsent = useAppSelector(
    (state) => Object.values(state.world.outbox).flat().filter((entry) => entry.command.kind === "send" && entry.state !== "stored").length,
  );
  const drafts = useAppSelector((state) => Object.values(state.drafts).filter((text) => text.trim() !== "").length);
  return (
    <section className="form">
      <Button look="danger" onClick={() => setIsAsked(true)}>
        {t.profile.signOut}
      </Button>
      <p className="form-note">{t.profile.signOutHelp}</p>
      {isAsked ? (
        <Confirm
          title={t.profile.signOut}
          text={t.profile.signOutAsk(unsent, drafts)}
          action={t.profile.signOut}
          onClose={() => setIsAsked(false)}
          onConfirm={() => void accounts.signOut().then(() => go({ screen: "signIn" }, "replace"))}
        />
      ) : null}
    </section>
  );
}

export function Profile() {
  const accounts = useAccounts();
  const { http } = accounts;
  const { t, refusal: say } = useLocale();
  const [account, setAccount] = useState<Account | null>(null);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [isHelp, setIsHelp] = useState(false);
  const session = useAppSelector(sessionOf);
  useEffect(() => {
    let isWanted = true;
    http
      .user("me")
      .then((read) => {
        if (!isWanted) return;
        // It may have been changed on another device.
        accounts.renamed(read.username);
        setAccount((before) => before ?? read);
      })
      .catch((error: unknown) => isWanted && setRefusal(refusalOf(error)));
    return () => {
      isWanted = false;
    };
  }, [accounts, http, session]);
  return (
    <main className="pane">
      <header className="pane-head">
        <IconButton icon="back" label={t.back} onClick={() => go({ screen: "chats" })} />
        <div className="pane-title">
          <h1>{t.profile.title}</h1>
        </div>
      </header>
      <div className="pane-body">
        <section aria-labelledby="profile-about">
          <h2 id="profile-about">{t.profile.about}</h2>
          {account ? (
            <>
              <Picture account={account} onSaved={setAccount} />
              <AccountForm account={account} onSaved={setAccount} />
            </>
          ) : (
            <p className="form-note profile-waiting">{refusal ? say(refusal) : t.loading}</p>
          )}
        </section>
        <section className="form" aria-labelledby="profile-devices">
          <h2 id="profile-devices">{t.devices.title}</h2>
          <p className="form-note">{t.devices.about}</p>
          <Link to={{ screen: "devices" }} className="button button-quiet form-link">
            {t.devices.show}
          </Link>
        </section>
        <LinkedAccounts />
        <Look />
        <section className="form">
          <Button onClick={() => setIsHelp(true)}>{t.profile.keyboard}</Button>
        </section>
        <SignOut />
      </div>
      {isHelp ? <Keys onClose={() => setIsHelp(false)} /> : null}
    </main>
  );
}
