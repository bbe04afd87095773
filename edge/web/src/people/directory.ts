/**
 * Finds out who people are: a few questions at a time, what was learned before at once, also offline. Whoever is on the
 * screen is asked for again after ten minutes, so that a name or a picture that changed is seen without a reload.
 */

import { RefusedError, type HttpApi, type Profile, type UserId } from "@panda/client";
import { keep, kept } from "../account/saved";
import { met, type People } from "../state/people";
import type { Store } from "../state/store";

/** Questions under way. A server answers 1,200 requests a minute of a user. */
const ASKED_MAX = 4;
/** People who are kept for reading offline. */
export const KEPT_MAX = 1_000;
/** People who wait to be asked for. Who scrolls through a long history passes thousands, and looks at the last ones. */
export const WAITING_MAX = 1_000;
/** What was learned is taken for true so long, of who is on the screen. */
export const FRESH_MS = 10 * 60_000;
/** How often it is looked whether somebody on the screen was asked for too long ago. */
export const LOOK_EVERY_MS = 60_000;
const WRITE_AFTER_MS = 1_000;
const RETRY_AFTER_MS = 5_000;

export class Directory {
  readonly #http: Pick<HttpApi, "user">;
  readonly #store: Store;
  readonly #key: string;
  readonly #wanted = new Set<UserId>();
  readonly #waiting: UserId[] = [];
  /** When somebody's answer came. */
  readonly #learned = new Map<UserId, number>();
  /** How often somebody is on the screen. */
  readonly #shown = new Map<UserId, number>();
  #asked = 0;
  /** The server is away or wants fewer questions: for a while nobody is asked for. */
  #isPausing = false;
  #writing: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  readonly #looking: ReturnType<typeof setInterval>;

  constructor(http: Pick<HttpApi, "user">, store: Store, me: UserId) {
    this.#http = http;
    this.#store = store;
    this.#key = `panda.people.${me}`;
    store.dispatch(met(readPeople(kept(this.#key))));
    this.#looking = setInterval(this.#look, LOOK_EVERY_MS);
    document.addEventListener("visibilitychange", this.#look);
  }

  /** Somebody is on the screen, until what this returns is called. */
  show(id: UserId): () => void {
    this.#shown.set(id, (this.#shown.get(id) ?? 0) + 1);
    this.#wantFresh(id);
    return () => {
      const others = (this.#shown.get(id) ?? 1) - 1;
      if (others === 0) this.#shown.delete(id);
      else this.#shown.set(id, others);
    };
  }

  /** Somebody's name is needed, of whatever age it is. */
  want(id: UserId): void {
    if (this.#wanted.has(id)) return;
    this.#wanted.add(id);
    // Who was wanted last is on the screen.
    this.#waiting.push(id);
    this.#bound();
    this.#next();
  }

  /** What the answer to something else told. */
  learn(profile: Profile): void {
    this.#wanted.add(profile.id);
    this.#learned.set(profile.id, Date.now());
    const { username, picture, version } = profile;
    this.#met({ [profile.id]: { username, picture, version } });
  }

  forget(): void {
    this.#stop();
    keep(this.#key, null);
  }

  close(): void {
    if (this.#writing !== undefined && !this.#isClosed) this.#write();
    this.#stop();
  }

  #stop(): void {
    this.#isClosed = true;
    clearTimeout(this.#writing);
    clearInterval(this.#looking);
    document.removeEventListener("visibilitychange", this.#look);
  }

  #wantFresh(id: UserId): void {
    const learned = this.#learned.get(id);
    if (learned !== undefined && Date.now() - learned >= FRESH_MS) {
      this.#learned.delete(id);
      this.#wanted.delete(id);
    }
    this.want(id);
  }

  /** A page that nobody sees asks nobody; whoever comes back to it sees what is true then. */
  readonly #look = (): void => {
    if (document.visibilityState === "hidden") return;
    for (const id of this.#shown.keys()) this.#wantFresh(id);
  };

  #next(): void {
    while (this.#asked < ASKED_MAX && !this.#isPausing && !this.#isClosed) {
      const id = this.#waiting.pop();
      if (id === undefined) return;
      this.#asked += 1;
      void this.#ask(id).finally(() => {
        this.#asked -= 1;
        this.#next();
      });
    }
  }

  async #ask(id: UserId): Promise<void> {
    try {
      this.learn(await this.#http.user(id));
    } catch (error) {
      const refusal = error instanceof RefusedError ? error.refusal : null;
      if (refusal?.label === "not_found") {
        this.#learned.set(id, Date.now());
        this.#met({ [id]: null });
        return;
      }
      // Behind all others, whom the same refusal may not meet.
      this.#waiting.unshift(id);
      this.#bound();
      this.#pause(Math.max(RETRY_AFTER_MS, refusal?.retryAfterMs ?? 0));
    }
  }

  /** Who was passed by longest ago is wanted anew when shown anew. */
  #bound(): void {
    for (const id of this.#waiting.splice(0, this.#waiting.length - WAITING_MAX)) this.#wanted.delete(id);
  }

  /** The next questions would be refused as this one was. */
  #pause(ms: number): void {
    if (this.#isPausing) return;
    this.#isPausing = true;
    setTimeout(() => {
      this.#isPausing = false;
      this.#next();
    }, ms);
  }

  #met(people: People): void {
    if (this.#isClosed) return;
    this.#store.dispatch(met(people));
    this.#writing ??= setTimeout(() => this.#write(), WRITE_AFTER_MS);
  }

  #write(): void {
    this.#writing = undefined;
    const known = Object.entries(this.#store.getState().people).filter(([, person]) => person !== null);
    keep(this.#key, JSON.stringify(Object.fromEntries(known.slice(-KEPT_MAX))));
  }
}

function readPeople(text: string | null): People {
  if (text === null) return {};
  try {
    const people: People = {};
    for (const [id, person] of Object.entries(JSON.parse(text) as People)) {
      if (typeof person?.username !== "string" || typeof person.version !== "number") continue;
      const picture = typeof person.picture === "string" ? person.picture : null;
      people[id as UserId] = { username: person.username, picture, version: person.version };
    }
    return people;
  } catch {
    return {};
  }
}
