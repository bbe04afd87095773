/** Which server this page is of. */

/**
 * The one that served it, unless whoever else serves its files named another one in its head: the page is the same file
 * everywhere.
 */
export function serverUrl(): string {
  const named = document.querySelector<HTMLMetaElement>('meta[name="panda-server"]')?.content ?? "";
  if (named === "") return location.origin;
  if (!URL.canParse(named)) throw new Error(`the page names "${named}" as its server (panda-server), which is no address`);
  return new URL(named).origin;
}
