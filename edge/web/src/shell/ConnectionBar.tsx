/**
 * How it stands with the connection, in words. What is over in a moment is not mentioned: a bar that comes and goes
 * tells nobody anything.
 */

import type { Connection } from "@panda/client";
import { useEffect, useState } from "react";
import { SignInAgain } from "../account/SignIn";
import { Button } from "../parts/Button";
import { Icon } from "../parts/Icon";
import { useAppSelector } from "../state/store";
import { useLocale } from "../texts/locale";
import { useClient } from "./services";

/** So long may a connection take before it is worth a word. */
const PATIENCE_MS = 1_500;

/** A clock that is wrong by more is worth a word: what was said now may be of yesterday by it. */
const CLOCK_OFF_MS = 10 * 60_000;

/** Whether somebody is in the middle of writing: what they type next must not land anywhere else. */
function isWriting(): boolean {
  const field = document.activeElement;
  return (field instanceof HTMLTextAreaElement || field instanceof HTMLInputElement) && field.value !== "";
}

/** Seconds until a moment, counted down. */
function useSecondsTo(ms: number | null): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (ms === null) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [ms]);
  return ms === null ? 0 : Math.max(0, Math.ceil((ms - now) / 1000));
}

/** False for a while after it became true: for what is often over at once. */
function useLasting(is: boolean): boolean {
  const [isLasting, setIsLasting] = useState(false);
  useEffect(() => {
    if (!is) return;
    const timer = setTimeout(() => setIsLasting(true), PATIENCE_MS);
    return () => {
      clearTimeout(timer);
      setIsLasting(false);
    };
  }, [is]);
  return is && isLasting;
}

function Waiting({ connection }: { connection: Extract<Connection, { state: "waiting" }> }) {
  const client = useClient();
  const { t } = useLocale();
  const seconds = useSecondsTo(connection.retryAtMs);
  return (
    <>
      <Icon name="offline" size={18} />
      <p>
        {connection.reason?.label === "origin_refused" ? (
          t.link.originRefused
        ) : (
          <>
            {/* Who hears the page hears that it is tried, and not each second of it. */}
            <span aria-hidden="true">{seconds > 0 ? t.link.waiting(seconds) : t.link.waitingNow}</span>
            <span className="hidden">{t.link.waitingNow}</span>
          </>
        )}{" "}
        {t.link.kept}
      </p>
      <Button onClick={() => client.connectNow()}>{t.link.tryNow}</Button>
    </>
  );
}

function Stopped({ connection }: { connection: Extract<Connection, { state: "stopped" }> }) {
  const client = useClient();
  const { t, refusal } = useLocale();
  const reload = <Button onClick={() => location.reload()}>{t.link.reload}</Button>;
  switch (connection.reason.label) {
    case "replaced":
      return (
        <>
          <p>{t.link.replaced}</p>
          <Button onClick={() => client.connectNow()}>{t.link.useHere}</Button>
        </>
      );
    case "outdated":
    case "version_unsupported":
      return (
        <>
          <p>{t.link.outdated}</p>
          {reload}
        </>
      );
    case "origin_refused":
      return <p>{t.link.originRefused}</p>;
    default:
      return (
        <>
          <p>{t.link.stopped(refusal(connection.reason))}</p>
          {reload}
        </>
      );
  }
}

export function ConnectionBar() {
  const { t } = useLocale();
  const connection = useAppSelector((state) => state.link.connection);
  const isLagging = useAppSelector((state) => state.link.lagging);
  const isMemory = useAppSelector((state) => state.link.storage?.kind === "memory" && state.link.storage.reason !== null);
  const clockAheadMs = connection.state === "online" ? connection.clockAheadMs : null;
  const isConnecting = useLasting(connection.state === "connecting");
  const isCatchingUp = useLasting(connection.state === "online" && !connection.current);
  const [isAsked, setIsAsked] = useState(true);
  const isRevoked = connection.state === "stopped" && connection.reason.label === "revoked";
  const isSignedOut = connection.state === "signedOut" || isRevoked;
  const [wasSignedOut, setWasSignedOut] = useState(false);
  if (isSignedOut !== wasSignedOut) {
    // Each time that a login ends it is asked for once by itself; whoever is writing asks for it.
    setWasSignedOut(isSignedOut);
    setIsAsked(!isWriting());
  }
  return (
    <>
      <div role="status" className="bars">
        {connection.state === "waiting" ? (
          <div className="bar bar-warning">
            <Waiting connection={connection} />
          </div>
        ) : isConnecting ? (
          <div className="bar">
            <span className="spinner" aria-hidden="true" />
            <p>{t.link.connecting}</p>
          </div>
        ) : isCatchingUp || isLagging ? (
          <div className="bar">
            <span className="spinner" aria-hidden="true" />
            <p>{isLagging ? t.link.lagging : t.link.catchingUp}</p>
          </div>
        ) : isSignedOut ? (
          <div className="bar bar-warning">
            <Icon name="warning" size={18} />
            <p>{isRevoked ? t.link.revoked : t.refusals["token_expired"]}</p>
            <Button onClick={() => setIsAsked(true)}>{t.signIn.action}</Button>
          </div>
        ) : connection.state === "stopped" ? (
          <div className="bar bar-warning">
            <Icon name="warning" size={18} />
            <Stopped connection={connection} />
          </div>
        ) : null}
        {clockAheadMs !== null && Math.abs(clockAheadMs) > CLOCK_OFF_MS ? (
          <div className="bar bar-quiet">
            <p>{t.link.clockOff(clockAheadMs)}</p>
          </div>
        ) : null}
        {isMemory ? (
          <div className="bar bar-quiet">
            <p>{t.link.memoryOnly}</p>
          </div>
        ) : null}
      </div>
      {isSignedOut && isAsked ? <SignInAgain onClose={() => setIsAsked(false)} /> : null}
    </>
  );
}
