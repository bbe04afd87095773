/** The ways in: to log in, to make an account, and to log in again where a login has ended. */

import { useState, type SubmitEvent } from "react";
import { Button } from "../parts/Button";
import { Dialog } from "../parts/Dialog";
import { Field } from "../parts/Field";
import { IconButton } from "../parts/Button";
import { Mark } from "../parts/Mark";
import { Link } from "../shell/Link";
import { refusalOf, useAccounts, useSession } from "../shell/services";
import { go } from "../shell/router";
import { useLocale } from "../texts/locale";
import { ProviderButtons } from "./providers/ProviderButtons";
import type { Refusal } from "@panda/client";

/** The characters of the shortest password that the server takes. */
const PASSWORD_CHARS_MIN = 8;

interface Attempt {
  readonly busy: boolean;
  readonly refusal: Refusal | null;
  readonly run: (attempt: () => Promise<void>) => void;
}

function useAttempt(): Attempt {
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const run = (attempt: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setRefusal(null);
    attempt()
      .catch((error: unknown) => setRefusal(refusalOf(error)))
      .finally(() => setBusy(false));
  };
  return { busy, refusal, run };
}

function PasswordField({ isNew, error, value, onChange }: { isNew: boolean; error: string | null; value: string; onChange: (value: string) => void }) {
  const { t } = useLocale();
  const [isShown, setIsShown] = useState(false);
  return (
    <Field
      label={t.signIn.password}
      type={isShown ? "text" : "password"}
      autoComplete={isNew ? "new-password" : "current-password"}
      required
      {...(isNew ? { minLength: PASSWORD_CHARS_MIN, help: t.signUp.passwordHelp } : {})}
      value={value}
      onChange={(event) => onChange(event.target.value)}
      error={error}
      dir="ltr"
      beside={
        <IconButton
          icon="eye"
          className="field-button"
          aria-pressed={isShown}
          label={isShown ? t.signUp.hidePassword : t.signUp.showPassword}
          onClick={() => setIsShown(!isShown)}
        />
      }
    />
  );
}

export function SignIn({ isNew }: { isNew: boolean }) {
  const accounts = useAccounts();
  const { t, refusal: say } = useLocale();
  const [username, setUsername] = useState("");
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const { busy, refusal, run } = useAttempt();
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    run(async () => {
      const name = username.trim();
      const account = isNew
        ? await accounts.http.register({ username: name, password, ...(email === "" ? {} : { email }) })
        : await accounts.http.login({ username: name, password });
      accounts.signedIn(account);
      go({ screen: "chats" }, "replace");
    });
  };
  const of = (field: string) => (refusal?.field === field ? say(refusal) : null);
  const fields = isNew ? ["username", "email", "password"] : [];
  const other = refusal && !fields.includes(refusal.field ?? "") ? say(refusal) : null;
  const texts = isNew ? t.signUp : t.signIn;
  return (
    <main className="door">
      <form className="door-card" onSubmit={submit} aria-labelledby="door-title">
        <header className="door-head">
          <Mark size={64} />
          <p className="door-name">{t.name}</p>
          <p className="door-tagline">{t.tagline}</p>
        </header>
        {accounts.isLeftBehind() ? (
          <p className="form-error" role="alert">
            {t.signIn.leftBehind}
          </p>
        ) : null}
        <h1 id="door-title">{texts.title}</h1>
        <Field
          label={t.signIn.username}
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          autoFocus
          required
          minLength={isNew ? 3 : 1}
          maxLength={32}
          value={username}
          onChange={(event) => setUsername(event.target.value)}
          error={of("username")}
          dir="ltr"
          {...(isNew ? { help: t.signUp.usernameHelp } : {})}
        />
        {isNew ? (
          <Field
            label={t.signUp.email}
            mark={`(${t.optional})`}
            type="email"
            name="email"
            autoComplete="email"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
            error={of("email")}
            dir="ltr"
          />
        ) : null}
        <PasswordField isNew={isNew} error={of("password")} value={password} onChange={setPassword} />
        {other === null ? null : (
          <p className="form-error" role="alert">
            {other}
          </p>
        )}
        <Button type="submit" look="main" className="button-wide" aria-disabled={busy}>
          {busy ? texts.busy : texts.action}
        </Button>
        <ProviderButtons purpose="login" />
        <p className="door-other">
          {texts.other} <Link to={{ screen: isNew ? "signIn" : "signUp" }}>{texts.otherAction}</Link>
        </p>
      </form>
    </main>
  );
}

/** Over everything else, which stays as it is: what was typed waits behind it. */
export function SignInAgain({ onClose }: { onClose: () => void }) {
  const accounts = useAccounts();
  const { account } = useSession();
  const { t, refusal: say } = useLocale();
  const [password, setPassword] = useState("");
  const { busy, refusal, run } = useAttempt();
  const { username } = account.user;
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    run(async () => {
      accounts.signedIn(await accounts.http.login({ username, password }));
      onClose();
    });
  };
  return (
    <Dialog title={t.signIn.again} onClose={onClose}>
      <form className="dialog-form" onSubmit={submit}>
        <p className="dialog-text">{t.signIn.againWhy(username)}</p>
        <input className="hidden" name="username" autoComplete="username" value={username} readOnly tabIndex={-1} aria-hidden="true" />
        <PasswordField isNew={false} error={refusal ? say(refusal) : null} value={password} onChange={setPassword} />
        <ProviderButtons purpose="login" />
        <div className="dialog-actions">
          <Button onClick={onClose}>{t.cancel}</Button>
          <Button type="submit" look="main" aria-disabled={busy}>
            {busy ? t.signIn.busy : t.signIn.action}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
