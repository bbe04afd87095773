/** Where somebody is logged in, and how to end that from here. */

import type { Login, Refusal } from "@panda/client";
import { useCallback, useEffect, useRef, useState } from "react";
import { Button, IconButton } from "../parts/Button";
import { Confirm } from "../parts/Confirm";
import { go } from "../shell/router";
import { refusalOf, useAccounts } from "../shell/services";
import { sessionOf } from "../state/link";
import { useAppSelector } from "../state/store";
import { useLocale } from "../texts/locale";

/** What is to be ended: one login, or all others. */
type Asked = { readonly login: Login } | "others";

interface Logins {
  readonly logins: readonly Login[] | null;
  readonly refusal: Refusal | null;
  readonly read: () => Promise<void>;
}

function useLogins(): Logins {
  const { http } = useAccounts();
  const session = useAppSelector(sessionOf);
  const [logins, setLogins] = useState<readonly Login[] | null>(null);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  /** Only the newest question counts: an answer from before something was ended shows it again. */
  const newest = useRef(0);
  const read = useCallback(() => {
    newest.current += 1;
    const mine = newest.current;
    return http.logins().then(
      (found) => {
        if (mine !== newest.current) return;
        setLogins(found);
        setRefusal(null);
      },
      (error: unknown) => {
        if (mine === newest.current) setRefusal(refusalOf(error));
      },
    );
  }, [http]);
  useEffect(() => {
    void read();
    return () => {
      newest.current += 1;
    };
  }, [read, session]);
  return { logins, refusal, read };
}

function Device({ login, onEnd }: { login: Login; onEnd: () => void }) {
  const { t, moment } = useLocale();
  const name = login.label ?? t.devices.unknown;
  return (
    <li className="device">
      <div className="device-what">
        <p>
          <bdi className="device-name">{name}</bdi>
          {login.current ? <span className="device-current">{t.devices.current}</span> : null}
        </p>
        <p className="form-note">{t.devices.since(moment(login.createdMs))}</p>
        <p className="form-note">{t.devices.used(moment(login.usedMs))}</p>
      </div>
      {login.current ? null : (
        <Button onClick={onEnd} aria-label={t.devices.endOne(name)}>
          {t.devices.end}
        </Button>
      )}
    </li>
  );
}

export function Devices() {
  const { http } = useAccounts();
  const { t, refusal: say } = useLocale();
  const { logins, refusal, read } = useLogins();
  const [asked, setAsked] = useState<Asked | null>(null);
  const [failed, setFailed] = useState<Refusal | null>(null);
  const [said, setSaid] = useState("");
  const why = failed ?? refusal;
  const others = logins?.filter((login) => !login.current) ?? [];
  const end = async (what: Asked) => {
    setFailed(null);
    setSaid("");
    try {
      const count = what === "others" ? await http.endOtherLogins() : await http.endLogin(what.login.id).then(() => 1);
      setSaid(t.devices.ended(count));
    } catch (error) {
      const refused = refusalOf(error);
      // Somebody else was faster: it is as it was wanted.
      if (refused.label === "not_found") setSaid(t.devices.ended(1));
      else setFailed(refused);
    }
    await read();
  };
  return (
    <main className="pane">
      <header className="pane-head">
        <IconButton icon="back" label={t.devices.back} onClick={() => go({ screen: "profile" })} />
        <div className="pane-title">
          <h1>{t.devices.title}</h1>
        </div>
      </header>
      <div className="pane-body">
        <p className="form-note">{t.devices.help}</p>
        {logins ? (
          <ul className="devices" aria-label={t.devices.title}>
            {logins.map((login) => (
              <Device key={login.id} login={login} onEnd={() => setAsked({ login })} />
            ))}
          </ul>
        ) : refusal ? null : (
          <p className="form-note" role="status">
            {t.loading}
          </p>
        )}
        {why ? (
          <div className="form-row">
            <p className="form-error" role="alert">
              {say(why)}
            </p>
            {refusal ? <Button onClick={() => void read()}>{t.devices.again}</Button> : null}
          </div>
        ) : null}
        <section className="form">
          <p className="form-note" role="status">
            {said}
          </p>
          {others.length > 0 ? (
            <Button look="danger" onClick={() => setAsked("others")}>
              {t.devices.endOthers}
            </Button>
          ) : null}
        </section>
      </div>
      {asked ? (
        <Confirm
          title={asked === "others" ? t.devices.endOthers : t.devices.endOne(asked.login.label ?? t.devices.unknown)}
          text={asked === "others" ? t.devices.endOthersAsk(others.length) : t.devices.endAsk}
          action={t.devices.end}
          onClose={() => setAsked(null)}
          onConfirm={() => void end(asked)}
        />
      ) : null}
    </main>
  );
}
