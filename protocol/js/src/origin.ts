/** Why a request of a page to another origin failed: a browser does not say. */

const waitMs = 15_000;

/**
 * Whether the server at this URL is there and does not let this page read what it says. An answer that a page may not
 * read comes all the same; from a server that is away none comes.
 */
export async function isOriginRefused(url: string, fetchWith: typeof fetch): Promise<boolean> {
  // Node has none; a worker has its page's.
  const own = (globalThis as { readonly location?: { readonly origin: string } }).location?.origin;
  if (own === undefined || own === new URL(url).origin) return false;
  try {
    const signal = AbortSignal.timeout(waitMs);
    const answer = await fetchWith(new URL("/.well-known/panda", url), {
      mode: "no-cors",
      credentials: "omit",
      cache: "no-store",
      signal,
    });
    return answer.type === "opaque";
  } catch {
    return false;
  }
}
