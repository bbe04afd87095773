/** Where the servers of a deployment are (`SPEC.md`, section 5: `edges`), and at which of them a session is to be opened. */

/** More than this are not remembered. */
export const placesMax = 16;

export class Places {
  readonly #base: string;
  #edges: readonly string[] = [];
  #current: string;
  /** A GoAway named the current one, and it was not left yet. */
  #named = false;

  /** `saved`: what {@link edges} was, or anything. */
  constructor(
    base: string,
    saved: unknown,
    readonly random: () => number,
  ) {
    this.#base = this.#current = new URL(base).origin;
    this.learn(saved);
  }

  /** The base URL of the server that is next. */
  get current(): string {
    return this.#current;
  }

  /** To be kept: a page that is opened while its own server is away goes to another one. */
  get edges(): readonly string[] {
    return this.#edges;
  }

  /** Takes what a discovery document says; what is no list of servers is none. */
  learn(edges: unknown): void {
    const found = (Array.isArray(edges) ? (edges as readonly unknown[]) : []).flatMap((edge) => this.#originOf(edge));
    this.#edges = [...new Set(found)].slice(0, placesMax);
  }

  /** A GoAway sends the client to this `host:port`; empty: nowhere in particular, so to another one if one is known. */
  go(address: string): void {
    if (address === "") this.leave();
    else {
      const url = new URL(this.#current);
      url.host = address;
      this.#current = url.origin;
      this.#named = true;
    }
  }

  /**
   * The next attempt is made elsewhere, where there is another server: at random, so that all clients of a server that
   * died do not come to the same one. Says whether it was one that a GoAway named.
   */
  leave(): boolean {
    const named = this.#named;
    this.#named = false;
    const others = [...new Set([this.#base, ...this.#edges])].filter((one) => one !== this.#current);
    this.#current = others[Math.floor(this.random() * others.length)] ?? this.#current;
    return named;
  }

  /** A browser lets a page of `https` use nothing less. */
  #originOf(edge: unknown): string[] {
    if (typeof edge !== "string" || !URL.canParse(edge)) return [];
    const { protocol, origin } = new URL(edge);
    return protocol === "https:" || protocol === new URL(this.#base).protocol ? [origin] : [];
  }
}
