/** Clients and a real server: everything that the typed API does. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHttpApi, RefusedError, type ChatId, type UserId } from "../../src/index.js";
import { Server } from "../support/server.js";
import { clientOf, person, register, type Person } from "../support/people.js";

let server: Server;
const here: Person[] = [];

beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  for (const { client, view } of here) {
    expect(view.violations).toEqual([]);
    client.close();
  }
  await server.remove();
});

async function join(name: string): Promise<Person> {
  const someone = await person(server.url, name);
  here.push(someone);
  return someone;
}

/** A group of the first, with the others in it, as all of them see it. */
async function group(name: string, [owner, ...others]: readonly [Person, ...Person[]]): Promise<ChatId> {
  const { entity } = await owner.client.createGroup(
    name,
    others.map(({ account }) => account.user.id),
  ).done;
  const chat = entity as ChatId;
  for (const { view } of [owner, ...others])
    await view.until(`the chat ${name}`, ({ chats }) => chats.get(chat)?.info && chats.get(chat)?.following === "live");
  return chat;
}

describe("a conversation", () => {
  it("reaches everybody once and in order, and leaves the outbox with its events", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const chat = await group("tea", [ada, ben]);
    const texts = Array.from({ length: 150 }, (_, at) => `message ${String(at)}`);
    const sent = texts.map((text) => ada.client.send(chat, text));
    const stored = await Promise.all(sent.map(({ done }) => done));
    for (const { view } of [ada, ben]) {
      await view.until("all messages", () => view.texts(chat).length === texts.length);
      expect(view.texts(chat)).toEqual(texts);
      expect(view.outbox.size).toBe(0);
    }
    const bySeq = new Map(ada.view.events.get(chat)?.map((event) => [event.seq, event]));
    stored.forEach(({ seq }, at) => {
      expect(bySeq.get(seq)).toMatchObject({ kind: "messageSent", text: texts[at], outbox: sent[at]?.id });
    });
    expect(ben.view.chats.get(chat)).toMatchObject({
      unread: texts.length,
      unreadExact: true,
      last: { text: "message 149" },
    });
  });

  it("is a direct one, once, whoever makes it, and names the other", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const first = await ada.client.createDirect(ben.account.user.id).done;
    const again = await ben.client.createDirect(ada.account.user.id).done;
    expect(again).toMatchObject({ entity: first.entity, changed: false });
    const chat = first.entity as ChatId;
    await ben.view.until("the peer", ({ chats }) => chats.get(chat)?.peer === ada.account.user.id);
    await ada.view.until("the peer", ({ chats }) => chats.get(chat)?.peer === ben.account.user.id);
    expect(ada.view.chats.get(chat)?.info).toMatchObject({ kind: "direct", members: 2, role: "member" });
  });

  it("has members who come, change and go", async () => {
    const [ada, ben, cid] = [await join("ada"), await join("ben"), await join("cid")];
    const chat = await group("walks", [ada, ben]);
    await ada.client.send(chat, "before cid").done;
    await ada.client.addMembers(chat, [cid.account.user.id], { withHistory: true }).done;
    await cid.view.until("the chat", ({ chats }) => chats.get(chat)?.info?.members === 3);
    await ada.client.setRole(chat, cid.account.user.id, "admin").done;
    await cid.view.until("the role", ({ chats }) => chats.get(chat)?.info?.role === "admin");
    await cid.client.rename(chat, "long walks").done;
    await ben.view.until("the name", ({ chats }) => chats.get(chat)?.info?.name === "long walks");
    const { members, more } = await ben.client.members(chat);
    expect(more).toBe(false);
    expect(new Map(members.map(({ user, role }) => [user, role]))).toEqual(
      new Map<UserId, string>([
        [ada.account.user.id, "owner"],
        [ben.account.user.id, "member"],
        [cid.account.user.id, "admin"],
      ]),
    );
    await cid.client.removeMembers(chat, [ben.account.user.id]).done;
    await ben.view.until("that ben is out", ({ chats }) => !chats.has(chat));
    await ada.view.until("two members", ({ chats }) => chats.get(chat)?.info?.members === 2);
    const refused = await ben.client.send(chat, "still here?").done.catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(RefusedError);
    expect((refused as RefusedError).refusal.label).toBe("not_member");
    const [failed] = [...ben.view.outbox.values()];
    expect(failed).toMatchObject({ state: "failed", command: { text: "still here?" } });
    if (failed) ben.client.discard(failed.id);
    await ben.view.until("an empty outbox", ({ outbox }) => outbox.size === 0);
  });

  it("is marked as read on all devices of a user", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const phone = clientOf(server.url, ben.account);
    here.push(phone);
    await phone.view.online();
    const chat = await group("reading", [ada, ben]);
    const { seq } = await ada.client.send(chat, "read this").done;
    await phone.view.until("one unread", ({ chats }) => chats.get(chat)?.unread === 1);
    await ben.view.until("one unread", ({ chats }) => chats.get(chat)?.unread === 1);
    await ben.client.markRead(chat, seq).done;
    for (const { view } of [ben, phone]) {
      const read = await view.until("that it is read", ({ chats }) => chats.get(chat)?.read === seq && chats.get(chat));
      expect(read).toMatchObject({ unread: 0, unreadExact: true });
    }
    // A third device, which knows nothing, counts the same.
    const tablet = clientOf(server.url, ben.account);
    here.push(tablet);
    await tablet.view.until("the chat", ({ chats }) => chats.get(chat)?.info && chats.get(chat)?.following === "live");
    expect(tablet.view.chats.get(chat)).toMatchObject({ unread: 0, read: seq });
    tablet.client.preview([chat]);
    await tablet.view.until("the preview", ({ chats }) => chats.get(chat)?.last?.kind === "messageSent");
  });

  it("shows who types, until a message comes", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const chat = await group("typing", [ada, ben]);
    const { log } = ada.view;
    const signals = (): unknown[] =>
      log.filter(({ type }) => type === "typing" || type === "presence").map((event) => ({ ...event }));
    ben.client.typing(chat, true);
    ben.client.typing(chat, true);
    const user = ben.account.user.id;
    await ada.view.until("that ben types", () => signals().length > 0);
    ben.client.send(chat, "typed");
    await ada.view.until("that ben stopped", () => signals().length > 1);
    ben.client.presence(chat, false);
    await ada.view.until("that ben is away", () => signals().length > 2);
    expect(signals()).toEqual([
      { type: "typing", chat, user, typing: true },
      { type: "typing", chat, user, typing: false },
      { type: "presence", chat, user, here: false },
    ]);
  });

  it("keeps settings for all devices", async () => {
    const ada = await join("ada");
    const other = clientOf(server.url, ada.account);
    here.push(other);
    await other.view.online();
    await ada.client.setSetting("theme", new TextEncoder().encode("dark")).done;
    const value = await other.view.until("the setting", ({ settings }) => settings.get("theme"));
    expect(new TextDecoder().decode(value)).toBe("dark");
  });
});

describe("history", () => {
  it("is read in pages, backward, forward and by time", async () => {
    const ada = await join("ada");
    const chat = await group("long", [ada]);
    const sent = Array.from({ length: 300 }, (_, at) => ada.client.send(chat, `n${String(at)}`).done);
    const seqs = (await Promise.all(sent)).map(({ seq }) => seq);
    const head = Math.max(...seqs);
    // Another device has nothing of it.
    const other = clientOf(server.url, ada.account);
    here.push(other);
    await other.view.online();
    const backward: number[] = [];
    for (let before: number | undefined; ;) {
      const page = await other.client.history(chat, { limit: 100, ...(before === undefined ? {} : { before }) });
      expect(page).toMatchObject({ head, beginsAt: 1, from: "server" });
      backward.unshift(...page.events.map(({ seq }) => seq));
      before = page.events[0]?.seq;
      if (before === undefined || before <= page.beginsAt) break;
    }
    expect(backward).toEqual(Array.from({ length: head }, (_, at) => at + 1));
    const { events } = await other.client.history(chat, { after: 10, limit: 20 });
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 20 }, (_, at) => at + 11));
    const middle = events[9];
    expect(await other.client.seqAt(chat, middle?.timeUs ?? 0)).toBe(middle?.seq);
    expect(await other.client.seqAt(chat, (middle?.timeUs ?? 0) + 1)).toBe((middle?.seq ?? 0) + 1);
    expect(await other.client.seqAt(chat, Number.MAX_SAFE_INTEGER)).toBe(head + 1);
  });

  it("of a chat that is not the user's is refused", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const chat = await group("secret", [ada]);
    await expect(ben.client.history(chat)).rejects.toMatchObject({ refusal: { label: "not_found" } });
  });
});

describe("refusals", () => {
  it("of texts that are too long or empty come at once and keep nothing", async () => {
    const ada = await join("ada");
    const chat = await group("limits", [ada]);
    await expect(ada.client.send(chat, "").done).rejects.toMatchObject({ refusal: { label: "invalid_request" } });
    await expect(ada.client.send(chat, "x".repeat(16_385)).done).rejects.toMatchObject({
      refusal: { label: "too_large" },
    });
    await expect(ada.client.send(chat, "x".repeat(1_000_000)).done).rejects.toMatchObject({
      refusal: { label: "too_large" },
    });
    await expect(ada.client.send(chat, "x".repeat(16_384)).done).resolves.toMatchObject({ changed: true });
    expect(ada.view.outbox.size).toBe(0);
    expect(ada.view.connection?.state).toBe("online");
  });

  it("keep the order of what is behind a refused command", async () => {
    const [ada, ben] = [await join("ada"), await join("ben")];
    const chat = await group("refused", [ada, ben]);
    const sent = [
      ben.client.send(chat, "one"),
      ben.client.rename(chat, "not allowed"),
      ben.client.send(chat, "two"),
      ben.client.send(chat, "three"),
    ];
    const ends = await Promise.allSettled(sent.map(({ done }) => done));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
    await ada.view.until(
      "three messages",
      ({ events }) => (events.get(chat) ?? []).filter(({ kind }) => kind === "messageSent").length === 3,
    );
    expect(ada.view.texts(chat)).toEqual(["one", "two", "three"]);
  });

  it("of more commands than a second allows delay them and lose none", async () => {
    const ada = await join("ada");
    const chat = await group("fast", [ada]);
    const texts = Array.from({ length: 400 }, (_, at) => String(at));
    await Promise.all(texts.map((text) => ada.client.send(chat, text).done));
    expect(ada.view.texts(chat)).toEqual(texts);
  });
});

describe("identity over HTTP", () => {
  it("registers, logs in, reads and changes the profile", async () => {
    let token: string | null = null;
    const api = createHttpApi({ url: server.url, token: () => token });
    const account = await api.register({ username: "dora", email: "dora@example.org", password: "a long password" });
    token = (await api.login({ username: "dora", password: "a long password" })).accessToken;
    expect(await api.user("me")).toMatchObject({
      id: account.user.id,
      username: "dora",
      email: "dora@example.org",
      picture: null,
    });
    const changed = await api.updateProfile({ picture: "https://example.org/dora.png" }, 1);
    expect(changed).toMatchObject({ picture: "https://example.org/dora.png" });
    await expect(api.updateProfile({ username: "dora2" }, 1)).rejects.toMatchObject({
      refusal: { label: "version_conflict", status: 412 },
    });
    expect(await api.user("@dora")).toMatchObject({ id: account.user.id });
  });

  it("says what is refused, and why", async () => {
    const api = createHttpApi({ url: server.url });
    const { user } = await register(server.url, "taken");
    await expect(api.register({ username: user.username, password: "a long password" })).rejects.toMatchObject({
      refusal: { label: "taken", field: "username", status: 409 },
    });
    await expect(api.login({ username: user.username, password: "another" })).rejects.toMatchObject({
      refusal: { label: "bad_credentials" },
    });
    await expect(api.user("me")).rejects.toMatchObject({ refusal: { label: "unauthenticated", status: 401 } });
    const nobody = createHttpApi({ url: "http://127.0.0.1:1", timeoutMs: 2_000 });
    await expect(nobody.login({ username: "a", password: "b" })).rejects.toMatchObject({
      refusal: { label: "unreachable" },
    });
  });
});
