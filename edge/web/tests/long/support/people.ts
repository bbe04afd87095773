/** Many people who speak over HTTP, each for themselves. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Server } from "../../journeys/support/server";

const USERS_AT_ONCE = 1_000;
/** A server that refuses for longer than this is not waited for. */
const WAIT_MS_MAX = 65_000;

interface User {
  readonly id: string;
  readonly token: string;
}

export class People {
  readonly #url: string;
  readonly #apiKey: string;
  readonly #users = new Map<string, User>();

  constructor(server: Server) {
    this.#url = server.url;
    this.#apiKey = readFileSync(join(server.folder, "data", "admin.key"), "utf8").trim();
  }

  /** Makes them, where they are not there, and has a token of now for each. */
  async know(names: readonly string[]): Promise<void> {
    for (let at = 0; at < names.length; at += USERS_AT_ONCE) {
      const some = names.slice(at, at + USERS_AT_ONCE);
      const { users } = (await this.#ask("/bulk/users", this.#apiKey, { users: some.map((username) => ({ username })) })) as {
        users: { id: string; access_token: string }[];
      };
      some.forEach((name, place) => {
        const user = users[place];
        if (!user) throw new Error(`the server made no user ${name}`);
        this.#users.set(name, { id: user.id, token: user.access_token });
      });
    }
  }

  async makeChat(key: string, name: string, creator: string, members: readonly string[]): Promise<string> {
    const chat = { key, name, creator: this.#user(creator).id, members: members.map((member) => this.#user(member).id) };
    const { chats } = (await this.#ask("/bulk/chats", this.#apiKey, { chats: [chat] })) as { chats: { id: string }[] };
    const [made] = chats;
    if (!made) throw new Error("the server made no chat");
    return made.id;
  }

  async add(chat: string, by: string, members: readonly string[], withHistory = false): Promise<void> {
    await this.#ask(`/chats/${chat}/members`, this.#user(by).token, {
      members: members.map((member) => this.#users.get(member)?.id ?? `@${member}`),
      with_history: withHistory,
    });
  }

  /** The number that a message has in its chat. */
  async say(chat: string, by: string, text: string): Promise<number> {
    const { seq } = (await this.#ask(`/chats/${chat}/messages`, this.#user(by).token, { text })) as { seq: number };
    return seq;
  }

  #user(name: string): User {
    const user = this.#users.get(name);
    if (!user) throw new Error(`${name} is not known yet`);
    return user;
  }

  async #ask(path: string, token: string, body: unknown): Promise<unknown> {
    const end = Date.now() + WAIT_MS_MAX;
    for (;;) {
      const answer = await fetch(`${this.#url}${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
      });
      const told = (await answer.json()) as { title?: string; retry_after_ms?: number };
      if (answer.ok) return told;
      // Too much at once: nothing happened, and it is repeated (`HTTP.md`).
      const wait = Math.max(50, told.retry_after_ms ?? 0);
      const isForNow = answer.status === 429 || answer.status === 503;
      if (!isForNow || Date.now() + wait > end) throw new Error(`${path}: ${answer.status} ${told.title ?? ""}`);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
