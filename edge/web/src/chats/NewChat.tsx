/** Makes a chat: with one person, or a group. */

import type { Profile, Submitted } from "@panda/client";
import { useState, type SubmitEvent } from "react";
import { Avatar } from "../parts/Avatar";
import { Button, IconButton } from "../parts/Button";
import { Choice } from "../parts/Choice";
import { Field } from "../parts/Field";
import { PersonPicker, plainName, useLookUp } from "../people/PersonPicker";
import { go } from "../shell/router";
import { useIsShown } from "../parts/useIsShown";
import { refusalOf, useClient } from "../shell/services";
import { useAppSelector } from "../state/store";
import { useLocale } from "../texts/locale";
import type { ChatId } from "@panda/client";

/** `SPEC.md`, section 12. */
export const NAME_BYTES_MAX = 256;
const MEMBERS_MAX = 100;

export const isNameTooLong = (name: string): boolean => new TextEncoder().encode(name).length > NAME_BYTES_MAX;

/**
 * Runs until what was submitted is stored, and shows the chat then; or says what is wrong. Who went elsewhere meanwhile
 * stays there, where they may be in the middle of a sentence.
 */
function useMaking() {
  const client = useClient();
  const { refusal: say } = useLocale();
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const isShown = useIsShown();
  const make = ({ id, done }: Submitted) => {
    setIsBusy(true);
    setError(null);
    done
      .then((stored) => {
        if (isShown()) go({ screen: "chat", chat: stored.entity as ChatId, panel: null });
      })
      .catch((caught: unknown) => {
        if (isShown()) setError(say(refusalOf(caught)));
        // Nothing else shows it, and an outbox holds only so much.
        client.discard(id);
      })
      .finally(() => setIsBusy(false));
  };
  return { isBusy, error, setError, isShown, make };
}

type Making = ReturnType<typeof useMaking>;

export function NewChat() {
  const { t } = useLocale();
  const [kind, setKind] = useState<"direct" | "group">("direct");
  const making = useMaking();
  const isOnline = useAppSelector((state) => state.link.connection.state === "online");
  return (
    <main className="pane">
      <header className="pane-head">
        <IconButton icon="back" label={t.back} onClick={() => go({ screen: "chats" })} />
        <div className="pane-title">
          <h1>{t.make.title}</h1>
        </div>
      </header>
      <div className="pane-body">
        <Choice
          label={t.make.kind}
          value={kind}
          onChange={(next) => {
            setKind(next);
            making.setError(null);
          }}
          options={[
            { value: "direct", label: t.make.direct },
            { value: "group", label: t.make.group },
          ]}
        />
        {kind === "direct" ? <Direct making={making} /> : <Group making={making} />}
        {making.isBusy && !isOnline ? (
          <p className="form-note" role="status">
            {t.make.waiting}
          </p>
        ) : null}
      </div>
    </main>
  );
}

function Direct({ making }: { making: Making }) {
  const client = useClient();
  const { t } = useLocale();
  const lookUp = useLookUp();
  const [name, setName] = useState("");
  const [isLooking, setIsLooking] = useState(false);
  const start = async () => {
    setIsLooking(true);
    const found = await lookUp(plainName(name));
    if (!making.isShown()) return;
    setIsLooking(false);
    if (typeof found === "string") making.setError(found);
    else if (found.id === client.user) making.setError(t.make.isYou);
    else making.make(client.createDirect(found.id));
  };
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!isLooking && !making.isBusy) void start();
  };
  return (
    <form className="form" onSubmit={submit}>
      <Field
        label={t.make.person}
        help={t.make.directHelp}
        value={name}
        autoFocus
        autoCapitalize="none"
        autoComplete="off"
        spellCheck={false}
        maxLength={33}
        dir="ltr"
        error={making.error}
        onChange={(event) => setName(event.target.value)}
      />
      <Button type="submit" look="main" className="button-wide" aria-disabled={isLooking || making.isBusy}>
        {making.isBusy ? t.make.busy : t.make.start}
      </Button>
    </form>
  );
}

function Group({ making }: { making: Making }) {
  const client = useClient();
  const { t } = useLocale();
  const [name, setName] = useState("");
  const [people, setPeople] = useState<readonly Profile[]>([]);
  const refuse = (profile: Profile): string | null => {
    if (profile.id === client.user) return t.make.isYou;
    if (people.some((one) => one.id === profile.id)) return t.make.twice(profile.username);
    return people.length >= MEMBERS_MAX ? t.make.tooMany(MEMBERS_MAX) : null;
  };
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (making.isBusy) return;
    const trimmed = name.trim();
    if (trimmed === "" && people.length === 0) making.setError(t.make.needName);
    else if (isNameTooLong(trimmed)) making.setError(t.make.nameTooLong);
    else making.make(client.createGroup(trimmed, people.map((one) => one.id)));
  };
  return (
    <form className="form" onSubmit={submit}>
      <Field label={t.make.name} value={name} autoFocus autoComplete="off" dir="auto" error={making.error} onChange={(event) => setName(event.target.value)} />
      <PersonPicker label={t.make.people} action={t.make.add} refuse={refuse} onFound={(profile) => setPeople([...people, profile])} />
      <ul className="chips" aria-label={t.make.people}>
        {people.map((person) => (
          <li key={person.id} className="chip">
            <Avatar name={person.username} seed={person.id} picture={person.picture} size="small" />
            <bdi>{person.username}</bdi>
            <IconButton icon="close" label={t.make.remove(person.username)} onClick={() => setPeople(people.filter((one) => one.id !== person.id))} />
          </li>
        ))}
      </ul>
      <Button type="submit" look="main" className="button-wide" aria-disabled={making.isBusy}>
        {making.isBusy ? t.make.busy : t.make.create}
      </Button>
    </form>
  );
}
