/** A server that is killed, restarted, stopped, away: nothing typed or acknowledged is lost, doubled or out of order. */

import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createHttpApi, type ChatId, type UserId } from "../../src/index.js";
import { Core, openCore } from "../../src/core/core.js";
import { surroundings } from "../../src/core/surroundings.js";
import type { OutboxId } from "../../src/ids.js";
import { eraseIndexedDbStore, openIndexedDbStore } from "../../src/storage/indexeddb.js";
import type { ClientEvent } from "../../src/api.js";
import { nobody } from "../support/world.js";
import { Server } from "../support/server.js";
import { clientOf, person, register, webSocket, type Person } from "../support/people.js";

let server: Server;

beforeEach(async () => {
  server = await Server.start();
});
afterEach(async () => {
  await server.remove();
});

async function pair(): Promise<{ ada: Person; ben: Person; chat: ChatId }> {
  const [ada, ben] = [await person(server.url, "ada"), await person(server.url, "ben")];
  const { entity } = await ada.client.createGroup("tea", [ben.account.user.id]).done;
  const chat = entity as ChatId;
  for (const { view } of [ada, ben]) await view.until("the chat", ({ chats }) => chats.get(chat)?.following === "live");
  return { ada, ben, chat };
}

function leave(...people: readonly Person[]): void {
  for (const { client, view } of people) {
    expect(view.violations).toEqual([]);
    client.close();
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("a server that is killed in the middle", () => {
  it("and started again: every message is there once, in order, for everybody", { timeout: 60_000 }, async () => {
    const { ada, ben, chat } = await pair();
    const total = 240;
    const mine: string[] = [];
    const acked: Promise<number>[] = [];
    const typing = (async () => {
      for (let at = 0; at < total; at++) {
        for (const one of [ada, ben]) {
          const text = `${one.account.user.username} ${String(at)}`;
          mine.push(text);
          acked.push(one.client.send(chat, text).done.then(({ seq }) => seq));
        }
        await pause(10);
      }
    })();
    for (let kill = 0; kill < 2; kill++) {
      await pause(700);
      await server.kill();
      await pause(200);
      await server.start();
    }
    await typing;
    const seqs = await Promise.all(acked);
    expect(new Set(seqs).size).toBe(2 * total);
    for (const { view } of [ada, ben]) {
      await view.until("all messages", () => view.texts(chat).length >= 2 * total, 30_000);
      const texts = view.texts(chat);
      expect(texts.length).toBe(2 * total);
      expect([...texts].sort()).toEqual([...mine].sort());
      for (const { account } of [ada, ben]) {
        const own = texts.filter((text) => text.startsWith(`${account.user.username} `));
        expect(own).toEqual(mine.filter((text) => text.startsWith(`${account.user.username} `)));
      }
    }
    expect(ada.view.events.get(chat)?.map(({ seq }) => seq)).toEqual(ben.view.events.get(chat)?.map(({ seq }) => seq));
    // The event of an entry may come a moment after its acknowledgement.
    for (const { view } of [ada, ben]) await view.until("an empty outbox", ({ outbox }) => outbox.size === 0);
    leave(ada, ben);
  });
});

describe("a server that stops", () => {
  it("is left and found again", { timeout: 40_000 }, async () => {
    const { ada, ben, chat } = await pair();
    const stopping = server.stop();
    await ada.view.until("that it is away", ({ connection }) => connection?.state !== "online");
    const late = ada.client.send(chat, "typed while it was away");
    await ada.view.until("that it is queued", ({ outbox }) => outbox.get(late.id)?.state === "queued");
    await stopping;
    await server.start();
    ada.client.connectNow();
    await late.done;
    await ben.view.until("the message", () => ben.view.texts(chat).includes("typed while it was away"), 35_000);
    leave(ada, ben);
  });
});

describe("a token", () => {
  it(
    "that the server does not know any more ends in signedOut; a new login goes on where it was",
    { timeout: 40_000 },
    async () => {
      const account = await register(server.url, "eve");
      const someone = clientOf(server.url, { ...account, accessToken: "eyJ.eyJ.sig" });
      const reason = await someone.view.until(
        "that a person must log in",
        ({ connection }) => connection?.state === "signedOut" && connection,
      );
      expect(reason.state).toBe("signedOut");
      const typed = someone.client.createGroup("typed before", []);
      someone.client.authorize(account.accessToken);
      await someone.view.online();
      await typed.done;
      leave(someone);
    },
  );

  it("of another user is not taken for this one's", async () => {
    const [eve, mallory] = [await register(server.url, "eve"), await register(server.url, "mallory")];
    const someone = clientOf(server.url, { ...eve, accessToken: mallory.accessToken });
    const { reason } = await someone.view.until(
      "that it is refused",
      ({ connection }) => connection?.state === "signedOut" && connection,
    );
    expect(reason?.label).toBe("token_invalid");
    leave(someone);
  });

  it("that is given anew keeps the session", { timeout: 40_000 }, async () => {
    await server.remove();
    server = await Server.start({ PANDA_API_TOKEN_LIFETIME_S: "60" });
    const ada = await person(server.url, "ada");
    const expiresAtMs = (): number => (ada.view.connection?.state === "online" ? ada.view.connection.expiresAtMs : 0);
    const before = expiresAtMs();
    await pause(2_000);
    const again = await createHttpApi({ url: server.url }).login({
      username: ada.account.user.username,
      password: "a long password",
    });
    ada.client.authorize(again.accessToken);
    await ada.view.until("a longer right", () => expiresAtMs() > before);
    expect(
      ada.view.log.filter((event) => event.type === "connection" && event.connection.state === "connecting").length,
    ).toBe(1);
    leave(ada);
  });
});

describe("a login", () => {
  it("goes on by refresh tokens, of which the one before is taken once more", async () => {
    const ada = await register(server.url, "ada");
    let token = ada.accessToken;
    const api = createHttpApi({ url: server.url, token: () => token, label: "a test" });
    const next = await api.refresh(ada.refreshToken ?? "");
    expect(next.user).toEqual(ada.user);
    expect((await api.refresh(ada.refreshToken ?? "")).refreshToken).toBe(next.refreshToken);
    const other = await api.login({ username: ada.user.username, password: "a long password" });
    token = other.accessToken;
    const logins = await api.logins();
    expect(logins.map(({ label, current }) => ({ label, current }))).toEqual(
      expect.arrayContaining([
        { label: "a test", current: true },
        { label: null, current: false },
      ]),
    );
    await api.endLogin(logins.find(({ current }) => !current)?.id ?? "");
    await expect(api.endLogin("0000000000000001")).rejects.toMatchObject({ refusal: { label: "not_found" } });
    await expect(api.refresh(next.refreshToken ?? "")).rejects.toMatchObject({ refusal: { label: "revoked" } });
    await api.logOut(other.refreshToken ?? "");
    await expect(api.logins()).rejects.toMatchObject({ refusal: { label: "revoked" } });
    await expect(api.refresh("nonsense")).rejects.toMatchObject({ refusal: { label: "token_invalid" } });
  });

  it("that is ended elsewhere ends its session, which goes on by a new login", async () => {
    const ada = await person(server.url, "ada");
    const { username } = ada.account.user;
    const elsewhere = await createHttpApi({ url: server.url }).login({ username, password: "a long password" });
    const api = createHttpApi({ url: server.url, token: () => elsewhere.accessToken });
    expect(await api.endOtherLogins()).toBe(1);
    const { reason } = await ada.view.until(
      "that it is over",
      ({ connection }) => connection?.state === "stopped" && connection,
    );
    expect(reason.label).toBe("revoked");
    const again = await api.login({ username, password: "a long password" });
    ada.client.authorize(again.accessToken);
    await ada.view.until("online again", ({ connection }) => connection?.state === "online");
    leave(ada);
  });
});

describe("a page that is closed and opened again", () => {
  interface Page {
    readonly core: Core;
    readonly events: ClientEvent[];
    until(what: string, holds: () => boolean): Promise<void>;
  }

  async function open(name: string, url: string, user: UserId, token: string): Promise<Page> {
    const events: ClientEvent[] = [];
    const happened = (batch: readonly ClientEvent[]): void => {
      events.push(...batch);
    };
    const core = await openCore(
      { url, user, client: "test", historyBytesMax: 1 << 20 },
      surroundings(webSocket),
      { token: () => Promise.resolve(token), happened, outdated: () => undefined },
      { open: () => openIndexedDbStore(name), erase: () => eraseIndexedDbStore(name) },
    );
    const until = async (what: string, holds: () => boolean): Promise<void> => {
      for (const end = performance.now() + 15_000; !holds();) {
        await pause(10);
        if (performance.now() > end) throw new Error(`not in time: ${what}`);
      }
    };
    return { core, events, until };
  }
  const isOnline =
    ({ events }: Page) =>
    (): boolean =>
      events.some(
        (event) => event.type === "connection" && event.connection.state === "online" && event.connection.current,
      );

  it(
    "sends what was typed offline, once, resumes where it was, and reads history without a server",
    { timeout: 60_000 },
    async () => {
      const [ada, ben] = [await register(server.url, "ada"), await person(server.url, "ben")];
      const name = "a page";
      const first = await open(name, server.url, ada.user.id, ada.accessToken);
      await first.until("online", isOnline(first));
      const chat = await new Promise<ChatId>((resolve) => {
        first.core.submit(
          "g" as OutboxId,
          null,
          { kind: "createGroup", name: "tea", members: [ben.account.user.id] },
          {
            kept: () => undefined,
            ended: (ending) => {
              if ("stored" in ending) resolve(ending.stored.entity as ChatId);
            },
          },
        );
      });
      await ben.view.until("the chat", ({ chats }) => chats.get(chat)?.following === "live");
      await ben.client.send(chat, "seen by ada").done;
      await first.until("the message", () =>
        first.events.some(
          (event) => event.type === "events" && event.events.some(({ kind }) => kind === "messageSent"),
        ),
      );
      await server.kill();
      await first.until("offline", () =>
        first.core.snapshot().some((event) => event.type === "connection" && event.connection.state === "waiting"),
      );
      first.core.submit("typed" as OutboxId, chat, { kind: "send", text: "typed offline" }, nobody);
      await first.core.close();

      // Without a server: the list, the history and the outbox are there.
      const second = await open(name, server.url, ada.user.id, ada.accessToken);
      expect(second.core.snapshot()).toContainEqual(
        expect.objectContaining({
          type: "chats",
          complete: true,
          chats: [expect.objectContaining({ id: chat, info: expect.objectContaining({ name: "tea" }) as unknown })],
        }),
      );
      expect(second.core.snapshot()).toContainEqual(
        expect.objectContaining({
          type: "outbox",
          entries: [expect.objectContaining({ id: "typed", state: "queued" })],
        }),
      );
      const page = await second.core.history(chat);
      expect(page.from).toBe("store");
      expect(page.events.map((event) => (event.kind === "messageSent" ? event.text : event.kind))).toContain(
        "seen by ada",
      );
      await second.core.close();

      await server.start();
      ben.client.connectNow();
      const third = await open(name, server.url, ada.user.id, ada.accessToken);
      await ben.view.until("the message", () => ben.view.texts(chat).includes("typed offline"), 35_000);
      await third.until("the own message", () =>
        third.events.some((event) => event.type === "events" && event.events.some((one) => one.outbox === "typed")),
      );
      // Resumed: nothing that the first page saw comes again.
      const texts = third.events
        .flatMap((event) => (event.type === "events" ? event.events : []))
        .flatMap((event) => (event.kind === "messageSent" ? [event.text] : []));
      expect(texts).toEqual(["typed offline"]);
      expect(third.events.some(({ type }) => type === "hole" || type === "reset" || type === "resetAll")).toBe(false);
      await third.core.close();

      const fourth = await open(name, server.url, ada.user.id, ada.accessToken);
      await fourth.until("online", isOnline(fourth));
      // It ended while a tab might not have heard: a second submit of the same ID is no second message.
      const again = await new Promise((resolve) => {
        fourth.core.submit(
          "typed" as OutboxId,
          chat,
          { kind: "send", text: "typed offline" },
          { ...nobody, ended: resolve },
        );
      });
      expect(again).toMatchObject({ stored: { entity: chat, changed: true } });
      await pause(200);
      expect(ben.view.texts(chat)).toEqual(["seen by ada", "typed offline"]);
      await fourth.core.signOut();
      const fifth = await open(name, server.url, ada.user.id, ada.accessToken);
      expect(fifth.core.snapshot()).toContainEqual({ type: "chats", chats: [], complete: false });
      await fifth.core.close();
      leave(ben);
    },
  );
});
