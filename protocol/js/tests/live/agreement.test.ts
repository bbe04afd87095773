/** Two implementations of one page: what the Rust client (`panda chat`, over QUIC and WebSocket) sends, this one reads, and back. */

import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ChatId } from "../../src/index.js";
import { person } from "../support/people.js";
import { binary, Server, withoutOurs } from "../support/server.js";

let server: Server;

beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await server.remove();
});

/** Every script, right to left, combining marks, a byte order mark, and what could be taken for markup or a command. */
const texts = [
  "hello",
  "你好 مرحبا 🐼 é",
  "שלום, נענע 🍃",
  "นี่คือข้อความ",
  "\ufeffa mark in front",
  "zero\u200dwidth \u202eand reversed",
  "<script>alert(1)</script>",
  "a".repeat(4_000),
  `e${"\u0301".repeat(2_000)}`,
];

class RustClient {
  #printed = "";
  readonly #process: ChildProcessWithoutNullStreams;

  constructor(name: string, ...flags: readonly string[]) {
    this.#process = spawn(
      binary(),
      ["chat", "--server", server.url, "--user", name, "--register", "--plain", ...flags],
      {
        env: { ...withoutOurs(process.env), PANDA_PASSWORD: "a long password" },
      },
    );
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => (this.#printed += text));
    }
  }

  types(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  async prints(text: string): Promise<void> {
    for (const end = performance.now() + 15_000; !this.#printed.includes(text);) {
      if (performance.now() > end) throw new Error(`not printed: ${text}\n${this.#printed}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async quit(): Promise<number | null> {
    const gone = new Promise<number | null>((resolve) => this.#process.once("exit", resolve));
    this.types("/quit");
    return gone;
  }
}

describe.each([
  ["QUIC", "--quic"],
  ["WebSocket", "--ws"],
])("the Rust client over %s", (name, flag) => {
  it("and this one understand each other", { timeout: 60_000 }, async () => {
    const ada = await person(server.url, "ada");
    const ben = new RustClient(`ben_${name}`, flag);
    ben.types(`/new tea @${ada.account.user.username}`);
    const chat = await ada.view.until(
      "the chat that Rust made",
      ({ chats }) =>
        [...chats.values()].find(({ info, following }) => info?.name === "tea" && following === "live")?.id,
    );
    for (const text of texts) ben.types(text);
    await ada.view.until("all that Rust sent", () => ada.view.texts(chat).length === texts.length);
    expect(ada.view.texts(chat)).toEqual(texts);

    const made = (await ada.client.createGroup("coffee", []).done).entity as ChatId;
    const [rust] = (await ada.client.members(chat)).members.filter(({ user }) => user !== ada.account.user.id);
    if (rust === undefined) throw new Error("the Rust client is no member");
    await ada.client.addMembers(made, [rust.user]).done;
    await ben.prints("you are in coffee");
    await ada.client.rename(made, "strong coffee").done;
    await ben.prints("strong coffee");
    for (const text of texts.slice(0, 4)) {
      await ada.client.send(made, text).done;
      await ben.prints(`ada_1: ${text}`.replace("ada_1", ada.account.user.username));
    }
    await ada.client.removeMembers(made, [rust.user]).done;
    await ben.prints("no longer in");
    expect(await ben.quit()).toBe(0);
    expect(ada.view.violations).toEqual([]);
    ada.client.close();
  });
});
