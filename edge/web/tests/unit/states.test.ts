/** What is known besides chats: of the connection, of who types, and of people. */

import { RefusedError, type ChatId, type ClientEvent, type Profile, type SessionId, type UserId } from "@panda/client";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ACCOUNT_KEY } from "../../src/account/saved";
import { Directory, KEPT_MAX } from "../../src/people/directory";
import { setting } from "../../src/shell/settings";
import { linkReducer, noLink, sessionOf } from "../../src/state/link";
import { met, peopleReducer, type People } from "../../src/state/people";
import { noSignals, SIGNALLING_MAX, signalsReducer } from "../../src/state/signals";
import { makeStore } from "../../src/state/store";
import { applied, forgotten } from "../../src/state/world";
import { ada, ben, cake, said, tea } from "./support/fake_client";

const user = (number: number) => `0h${String(number).padStart(24, "0")}` as UserId;
const online = (url: string): ClientEvent => ({
  type: "connection",
  connection: { state: "online", session: "2h" as SessionId, current: true, expiresAtMs: 0, url, clockAheadMs: 0 },
});
const waiting: ClientEvent = { type: "connection", connection: { state: "waiting", retryAtMs: 0, attempt: 1, reason: null } };

describe("signals", () => {
  const typing = (chat: ChatId, who: UserId, is = true): ClientEvent => ({ type: "typing", chat, user: who, typing: is });
  const reduce = (...events: ClientEvent[]) => signalsReducer(noSignals, applied(events));

  test("are of the chat in which they come, and end when they are taken back", () => {
    const signals = reduce(typing(tea, ada), typing(tea, ben), typing(cake, ada), typing(tea, ada, false));
    expect(signals.typing).toEqual({ [tea]: [ben], [cake]: [ada] });
  });

  test("that repeat what is known change nothing", () => {
    const signals = reduce(typing(tea, ada));
    expect(signalsReducer(signals, applied([typing(tea, ada), typing(cake, ada, false)]))).toBe(signals);
  });

  test("of a crowd are bounded, and one that stops makes room for another", () => {
    const all = Array.from({ length: SIGNALLING_MAX + 5 }, (_, number) => user(number));
    const signals = reduce(...all.map((one) => typing(tea, one)));
    expect(signals.typing[tea]).toEqual(all.slice(0, SIGNALLING_MAX));
    const later = signalsReducer(signals, applied([typing(tea, user(0), false), typing(tea, user(SIGNALLING_MAX))]));
    expect(later.typing[tea]?.at(-1)).toBe(user(SIGNALLING_MAX));
  });

  test("are gone with the session, and with who was logged in", () => {
    const signals = reduce(typing(tea, ada), { type: "presence", chat: tea, user: ben, here: true });
    expect(signals.here[tea]).toEqual([ben]);
    expect(signalsReducer(signals, applied([online("http://a")]))).toBe(signals);
    expect(signalsReducer(signals, applied([waiting]))).toBe(noSignals);
    expect(signalsReducer(signals, forgotten())).toBe(noSignals);
  });
});

describe("the connection", () => {
  const reduce = (...events: ClientEvent[]) => linkReducer(noLink, applied(events));

  test("that is away leaves the place where it was, and no session", () => {
    const link = reduce(online("http://a"), waiting);
    expect([link.place, sessionOf({ link })]).toEqual(["http://a", null]);
    expect(reduce(online("http://a"), waiting, online("http://b")).place).toBe("http://b");
    expect(linkReducer(link, forgotten())).toBe(noLink);
  });

  test("lags until events come through again, or there is another session", () => {
    const behind = reduce(online("http://a"), { type: "lagging", entity: tea, head: 9 });
    expect(behind.lagging).toBe(true);
    expect(linkReducer(behind, applied([{ type: "lagging", entity: tea, head: 9 }]))).toBe(behind);
    expect(linkReducer(behind, applied([{ type: "events", chat: tea, events: [said(1, "x")] }])).lagging).toBe(false);
    expect(linkReducer(behind, applied([online("http://a")])).lagging).toBe(false);
  });
});

describe("people", () => {
  const person = (username: string, version: number) => ({ username, picture: null, version });

  test("are known by the newest answer, in whatever order answers come", () => {
    let people = peopleReducer(undefined, met({ [ben]: person("new", 3) }));
    people = peopleReducer(people, met({ [ben]: person("old", 2), [ada]: null }));
    expect(people).toEqual({ [ben]: person("new", 3), [ada]: null } satisfies People);
    expect(peopleReducer(people, met({ [ben]: person("new", 3), [ada]: null }))).toBe(people);
    expect(peopleReducer(people, met({ [ada]: person("ada", 1) }))[ada]?.username).toBe("ada");
    expect(peopleReducer(people, forgotten())).toEqual({});
  });

  beforeEach(() => {
    vi.useFakeTimers();
    localStorage.clear();
  });
  afterEach(() => vi.useRealTimers());

  test("are kept for reading offline, the last thousand, and nothing of another form is believed", () => {
    const http = { user: () => Promise.reject(new RefusedError({ code: 2, label: "unreachable", text: "", retryAfterMs: 0 })) };
    const first = new Directory(http, makeStore(), ada);
    const profile = (number: number): Profile => ({ id: user(number), username: `name ${String(number)}`, picture: null, version: 1 });
    for (let number = 0; number < KEPT_MAX + 10; number += 1) first.learn(profile(number));
    first.close();
    const store = makeStore();
    const second = new Directory(http, store, ada);
    const { people } = store.getState();
    expect(Object.keys(people)).toHaveLength(KEPT_MAX);
    expect([people[user(0)], people[user(KEPT_MAX + 9)]?.username]).toEqual([undefined, `name ${String(KEPT_MAX + 9)}`]);
    second.close();

    for (const text of ["{", "null", "[1]", `{"${ben}":{"username":1,"version":1}}`, `{"${ben}":{"username":"ben"}}`]) {
      localStorage.setItem(`panda.people.${ada}`, text);
      const other = makeStore();
      new Directory(http, other, ada).close();
      expect(other.getState().people, text).toEqual({});
    }
  });
});

test("a setting is one of those that there are, whatever somebody wrote into the storage", () => {
  localStorage.setItem("panda.settings.theme", "pink");
  localStorage.setItem("panda.settings.pictures", "1");
  localStorage.setItem(ACCOUNT_KEY, "x");
  expect([setting("theme"), setting("pictures"), setting("language")]).toEqual(["system", "off", "system"]);
});
