/** Who is in a chat, and what may be changed about it: people, roles, the name, and to leave it. */

import type { ChatId, ChatSummary, Member, Role, Submitted } from "@panda/client";
import { useId, useState, type SubmitEvent } from "react";
import { isNameTooLong } from "../chats/NewChat";
import { Avatar } from "../parts/Avatar";
import { Button, IconButton } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { Field } from "../parts/Field";
import { useName, usePerson } from "../people/people";
import { PersonPicker } from "../people/PersonPicker";
import { go } from "../shell/router";
import { refusalOf, useClient } from "../shell/services";
import { useLocale } from "../texts/locale";
import { useMembers } from "./useMembers";

const ranks: Record<Role, number> = { reader: 1, member: 2, admin: 3, owner: 4 };
const roles: readonly Role[] = ["reader", "member", "admin", "owner"];

/** Says of what was submitted how it ended. */
function useOutcome() {
  const client = useClient();
  const { t, refusal: say } = useLocale();
  const [outcome, setOutcome] = useState<{ text: string; isError: boolean } | null>(null);
  const submit = ({ id, done }: Submitted) => {
    setOutcome(null);
    done
      .then(() => setOutcome({ text: t.members.done, isError: false }))
      .catch((error: unknown) => {
        setOutcome({ text: say(refusalOf(error)), isError: true });
        // Nothing else shows it, and an outbox holds only so much.
        client.discard(id);
      });
  };
  return { outcome, submit };
}

interface RowProps {
  readonly chat: ChatId;
  readonly member: Member;
  readonly mine: Role;
  readonly isDirect: boolean;
  readonly submit: (submitted: Submitted) => void;
}

function MemberRow({ chat, member, mine, isDirect, submit }: RowProps) {
  const client = useClient();
  const { t } = useLocale();
  const name = useName(member.user);
  const person = usePerson(member.user);
  const [isAsked, setIsAsked] = useState(false);
  const isMe = member.user === client.user;
  const maySetRole = mine === "owner" && !isMe && !isDirect;
  const mayRemove = !isMe && !isDirect && ranks[mine] >= ranks.admin && ranks[mine] > ranks[member.role];
  return (
    <li className="member">
      <Avatar name={name} seed={member.user} picture={person?.picture ?? null} isOwn={isMe} />
      <span className="member-name">
        <bdi>{name}</bdi>
        {isMe ? <span className="member-you">{t.you}</span> : null}
      </span>
      {maySetRole ? (
        <select
          aria-label={t.members.roleOf(name)}
          value={member.role}
          onChange={(event) => submit(client.setRole(chat, member.user, event.target.value as Role))}
        >
          {roles.map((role) => (
            <option key={role} value={role}>
              {t.roleNames[role]}
            </option>
          ))}
        </select>
      ) : isDirect ? null : (
        <span className="member-role" title={t.roleHelp[member.role]}>
          {t.roleNames[member.role]}
        </span>
      )}
      {mayRemove ? <IconButton icon="close" label={t.members.remove(name)} onClick={() => setIsAsked(true)} /> : null}
      {isAsked ? (
        <Confirm
          title={t.members.remove(name)}
          text={t.members.removeAsk(name)}
          action={t.members.removeAction}
          onClose={() => setIsAsked(false)}
          onConfirm={() => submit(client.removeMembers(chat, [member.user]))}
        />
      ) : null}
    </li>
  );
}

function Rename({ chat, name, submit }: { chat: ChatId; name: string; submit: (submitted: Submitted) => void }) {
  const client = useClient();
  const { t } = useLocale();
  const [text, setText] = useState(name);
  const [error, setError] = useState<string | null>(null);
  const rename = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const trimmed = text.trim();
    setError(isNameTooLong(trimmed) ? t.make.nameTooLong : null);
    if (!isNameTooLong(trimmed) && trimmed !== name) submit(client.rename(chat, trimmed));
  };
  return (
    <form onSubmit={rename}>
      <Field
        label={t.members.rename}
        value={text}
        dir="auto"
        autoComplete="off"
        error={error}
        onChange={(event) => setText(event.target.value)}
        beside={<Button type="submit">{t.members.renameAction}</Button>}
      />
    </form>
  );
}

export function Members({ chat, summary }: { chat: ChatId; summary: ChatSummary }) {
  const client = useClient();
  const { t, refusal: say } = useLocale();
  const { members, more, refusal, next } = useMembers(chat);
  const { outcome, submit } = useOutcome();
  const [withHistory, setWithHistory] = useState(false);
  const [isLeaving, setIsLeaving] = useState(false);
  const heading = useId();
  const isDirect = summary.info?.kind === "direct";
  const mine = summary.info?.role ?? "member";
  const mayManage = !isDirect && ranks[mine] >= ranks.admin;
  return (
    <section className="panel" aria-labelledby={heading}>
      <header className="pane-head">
        <div className="pane-title">
          <h2 id={heading}>{t.members.title}</h2>
        </div>
        <IconButton icon="close" label={t.close} onClick={() => go({ screen: "chat", chat, panel: null })} />
      </header>
      <div className="panel-body">
        {isDirect ? <p className="form-note">{t.members.directHelp}</p> : null}
        {mayManage ? (
          <>
            <Rename key={summary.info?.name} chat={chat} name={summary.info?.name ?? ""} submit={submit} />
            <div className="panel-add">
              <PersonPicker
                label={t.members.add}
                action={t.members.addAction}
                refuse={(profile) => (members?.some((member) => member.user === profile.id) === true ? t.members.already(profile.username) : null)}
                onFound={(profile) => submit(client.addMembers(chat, [profile.id], { withHistory }))}
              />
              <label className="check">
                <input type="checkbox" checked={withHistory} onChange={(event) => setWithHistory(event.target.checked)} />
                <span>{t.members.history}</span>
              </label>
            </div>
          </>
        ) : null}
        <p className={outcome?.isError === true ? "form-error" : "form-note"} role="status">
          {outcome?.text ?? ""}
        </p>
        {members ? (
          <ul className="members">
            {members.map((member) => (
              <MemberRow key={member.user} chat={chat} member={member} mine={mine} isDirect={isDirect} submit={submit} />
            ))}
          </ul>
        ) : (
          <p className="form-note">{refusal ? (refusal.label === "offline" ? t.members.offline : say(refusal)) : t.loading}</p>
        )}
        {more ? <Button onClick={next}>{t.more}</Button> : null}
        {isDirect ? null : (
          <Button look="danger" className="button-wide" onClick={() => setIsLeaving(true)}>
            {t.members.leave}
          </Button>
        )}
      </div>
      {isLeaving ? (
        <Confirm
          title={t.members.leave}
          text={t.members.leaveAsk}
          action={t.members.leaveAction}
          onClose={() => setIsLeaving(false)}
          onConfirm={() => {
            submit(client.removeMembers(chat, [client.user]));
            go({ screen: "chats" });
          }}
        />
      ) : null}
    </section>
  );
}
