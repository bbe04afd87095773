/** A world that a test drives: its clock, its sockets and a server of which the test says every frame. */

import {
  decodeMessage,
  encodeEvent,
  encodeFrame,
  type Event,
  type EventBody,
  type Frame,
} from "../../src/codec/index.js";
import type { ClientEvent, TokenReason } from "../../src/api.js";
import { Core, type CoreConfig } from "../../src/core/core.js";
import * as deferred from "../../src/core/deferred.js";
import type { Deferred, Fetched, SocketEvents, Surroundings } from "../../src/core/surroundings.js";
import type { ChatId, DeviceId, EntityId, OutboxId, SessionId, UserId } from "../../src/ids.js";
import { MemoryStore } from "../../src/storage/memory.js";
import type { Store } from "../../src/storage/store.js";
import type { Ending, Submitter } from "../../src/core/sending.js";
import { worded, wordedEvents } from "../../src/words.js";

export const me = "0h040g2081040g2081040g2081" as UserId;
export const other = "0h081040g2081040g2081040g2" as UserId;
export const tea = "1hxyksx0ftm8cw00ncmbr3csmh" as ChatId;
export const walks = "21wbr0nch2sgr2f3m8jrpadhyb" as ChatId;
export const otherDevice = "110c1g60r30c1g60r30c1g60r3" as DeviceId;
export const incarnation = new TextEncoder().encode("incarnat");
export const session = "2h144gj289144gj289144gj289" as SessionId;

/** Lets all promises that can go on go on. */
export const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 60; turn++) await Promise.resolve();
};

export class FakeSocket {
  readonly sent: Frame[] = [];
  closed = false;

  constructor(
    readonly url: string,
    readonly events: SocketEvents,
  ) {}

  /** What the client sent of this type, all of it that was not taken yet. */
  take<T extends Frame["type"]>(type: T): Extract<Frame, { readonly type: T }>[] {
    const isOf = (frame: Frame): frame is Extract<Frame, { readonly type: T }> => frame.type === type;
    const taken = this.sent.filter(isOf);
    this.sent.splice(0, this.sent.length, ...this.sent.filter((frame) => !isOf(frame)));
    return taken;
  }

  one<T extends Frame["type"]>(type: T): Extract<Frame, { readonly type: T }> {
    const [frame, ...more] = this.take(type);
    if (frame === undefined || more.length > 0)
      throw new Error(
        `${String(more.length + (frame ? 1 : 0))} frames of type ${type}; the others: ${this.sent.map((one) => one.type).join(", ")}`,
      );
    return frame;
  }

  async say(...frames: readonly Frame[]): Promise<void> {
    for (const frame of frames) this.events.message(encodeFrame(frame));
    await settled();
  }
}

export class World implements Surroundings {
  time = 1_000;
  wall = 1_700_000_000_000;
  chance = 0.5;
  readonly sockets: FakeSocket[] = [];
  discovery: unknown = { versions: [1], websocket: "/ws" };
  /** The server's clock, if it tells it. */
  dateMs: number | null = null;
  readonly fetched: string[] = [];
  #timers: { at: number; then: () => void }[] = [];

  now(): number {
    return this.time;
  }
  wallMs(): number {
    return this.wall;
  }
  random(): number {
    return this.chance;
  }
  after(ms: number, then: () => void): () => void {
    const timer = { at: this.time + ms, then };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }
  dial(url: string, events: SocketEvents): { send(message: Uint8Array): void; close(): void } {
    const socket = new FakeSocket(url, events);
    this.sockets.push(socket);
    return {
      send: (message) => {
        decodeMessage(message, (frame) => socket.sent.push(frame));
      },
      close: () => {
        socket.closed = true;
      },
    };
  }
  fetchJson(url: string): Promise<Fetched> {
    this.fetched.push(url);
    const { discovery, dateMs } = this;
    return discovery instanceof Error ? Promise.reject(discovery) : Promise.resolve({ json: discovery, dateMs });
  }

  /** The code that is loaded later; another one where a test says how it comes. */
  deferred(): Promise<Deferred> {
    return Promise.resolve(deferred);
  }

  get socket(): FakeSocket {
    const last = this.sockets.at(-1);
    if (last === undefined) throw new Error("nothing was dialled");
    return last;
  }

  /** Goes on in time, through every timer that is due. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((one, another) => one.at - another.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((one) => one !== due);
      this.wall += Math.max(0, due.at - this.time);
      this.time = Math.max(this.time, due.at);
      due.then();
      await settled();
    }
    this.wall += end - this.time;
    this.time = end;
    await settled();
  }
}

export interface Page {
  readonly world: World;
  readonly core: Core;
  readonly store: Store;
  readonly log: ClientEvent[];
  /** What the next ones are; the last one stays. Rejected for an Error. */
  tokens: (string | null | Error)[];
  readonly asked: TokenReason[];
  ended: Map<string, Ending>;
  /** What the outbox said that it has, as often as it said it. */
  readonly kept: string[];
  /** How often it said that the page has to be loaded again. */
  readonly outdated: number;
}

/** Waits for nothing. */
export const nobody: Submitter = { kept: () => undefined, ended: () => undefined };

/** A core in such a world, which dials at once. */
export async function page(
  store: Store = new MemoryStore(),
  world = new World(),
  config: Partial<CoreConfig> = {},
): Promise<Page> {
  const log: ClientEvent[] = [];
  const asked: TokenReason[] = [];
  const made = {
    world,
    store,
    log,
    tokens: ["token-1"] as (string | null | Error)[],
    asked,
    ended: new Map<string, Ending>(),
    kept: [] as string[],
    outdated: 0,
  };
  const owner = {
    token: (reason: TokenReason): Promise<string | null> => {
      asked.push(reason);
      const next = made.tokens.length > 1 ? made.tokens.shift() : made.tokens[0];
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next ?? null);
    },
    happened: (events: readonly ClientEvent[]): void => {
      log.push(...wordedEvents(events));
    },
    outdated: (): void => {
      made.outdated++;
    },
  };
  const core = new Core(
    { url: "http://panda.example", user: me, client: "test/1", historyBytesMax: 1 << 20, ...config },
    world,
    owner,
    { open: () => Promise.resolve(store), erase: () => Promise.resolve() },
    store,
    await store.load(),
    null,
    null,
  );
  await settled();
  return {
    ...made,
    core,
    get tokens() {
      return made.tokens;
    },
    set tokens(value) {
      made.tokens = value;
    },
    get outdated() {
      return made.outdated;
    },
  };
}

export const welcome = (over: Partial<Extract<Frame, { readonly type: "welcome" }>> = {}): Frame => ({
  type: "welcome",
  version: 1n,
  capabilities: 0n,
  session,
  user: me,
  heartbeatMs: 45_000n,
  expiresInMs: 3_600_000n,
  ticket: new TextEncoder().encode("ticket"),
  inbox: { incarnation, head: 10n, from: 11n, reset: false },
  limits: [],
  ...over,
});

export interface ListedChat {
  readonly chat: ChatId;
  readonly head: number;
}

/** Opens the socket and answers what a fresh device asks: the list, a live Sync of each chat, and what they are. */
export async function begin(
  page: Page,
  chats: readonly ListedChat[],
  over: Parameters<typeof welcome>[0] = {},
): Promise<FakeSocket> {
  const { socket } = page.world;
  socket.events.opened();
  await settled();
  await socket.say(welcome(over));
  const { request } = socket.one("chats");
  await socket.say({
    type: "chatsPage",
    request,
    more: false,
    inbox: 10n,
    chats: chats.map(({ chat }) => ({ chat, joined: 2n, read: 0n })),
  });
  if (chats.length > 0) await answerSync(socket, chats);
  await answerInfo(socket, chats);
  return socket;
}

export const admission = (
  head: number,
  start: 0 | 1 | 2 | 3,
  from: number,
  over: object = {},
): Extract<Extract<Frame, { type: "synced" }>["chats"][number]["outcome"], { admission: unknown }>["admission"] => ({
  start,
  incarnation,
  from: BigInt(from),
  head: BigInt(head),
  role: 2,
  visibleFrom: 1n,
  proof: Uint8Array.of(7),
  ...over,
});

/** Answers the one Sync: `from` behind the cursor that it names, or live. */
export async function answerSync(
  socket: FakeSocket,
  chats: readonly ListedChat[],
): Promise<Extract<Frame, { readonly type: "sync" }>> {
  const sync = socket.one("sync");
  const outcomes = sync.chats.flatMap(({ chat, cursor }) => {
    const head = chats.find((one) => one.chat === chat)?.head;
    if (head === undefined) return [];
    return [
      {
        chat,
        outcome: {
          admission: cursor === null ? admission(head, 3, head + 1) : admission(head, 0, Number(cursor.seq) + 1),
        },
      },
    ];
  });
  await socket.say({ type: "synced", request: sync.request, last: true, chats: outcomes });
  return sync;
}

export async function answerInfo(socket: FakeSocket, chats: readonly ListedChat[]): Promise<void> {
  for (const { request, chat } of socket.take("chatInfo")) {
    const head = chats.find((one) => one.chat === chat)?.head ?? 0;
    await socket.say({
      type: "chatInfoReply",
      request,
      kind: 1,
      name: "tea",
      incarnation,
      head: BigInt(head),
      members: 2n,
      role: 2,
      visibleFrom: 1n,
    });
  }
}

export function event(entity: EntityId, seq: number, body: EventBody, over: Partial<Event> = {}): Frame {
  const kinds: Record<string, number> = {
    chatCreated: 1,
    memberAdded: 2,
    memberRemoved: 3,
    roleChanged: 4,
    chatRenamed: 5,
    messageSent: 6,
    erased: 6,
    unknown: 0x3f,
    chatJoined: 0x40,
    chatLeft: 0x41,
    readMoved: 0x42,
    settingChanged: 0x43,
  };
  const bytes = encodeEvent({
    kind: kinds[body.is] ?? 0,
    seq: BigInt(seq),
    time: BigInt(1_700_000_000_000_000 + seq),
    actor: other,
    device: otherDevice,
    counter: BigInt(seq),
    digest: new Uint8Array(8),
    target: null,
    body,
    ...over,
  });
  return { type: "event", entity, event: bytes };
}

export const message = (entity: EntityId, seq: number, text: string, over: Partial<Event> = {}): Frame =>
  event(entity, seq, { is: "messageSent", format: 0, text }, over);

/** Texts of a chat's messages, as they came. */
/** Goes on in time beside a server that answers who asks whether it is there, and nothing else. */
export async function passAlive({ world }: Page, socket: FakeSocket, ms: number): Promise<void> {
  const end = world.time + ms;
  while (world.time < end) {
    await world.pass(Math.min(1_000, end - world.time));
    for (const { nonce } of socket.take("ping")) await socket.say({ type: "pong", nonce });
  }
}

export const textsOf = (page: Page, chat: ChatId): string[] =>
  page.log
    .flatMap((one) => (one.type === "events" && one.chat === chat ? one.events : []))
    .flatMap((one) => (one.kind === "messageSent" ? [one.text] : []));

export function send(page: Page, id: string, text: string, chat: ChatId = tea): void {
  page.core.submit(
    id as OutboxId,
    chat,
    { kind: "send", text },
    {
      kept: () => page.kept.push(id),
      ended: (ending) => page.ended.set(id, "refusal" in ending ? { refusal: worded(ending.refusal) } : ending),
    },
  );
}
