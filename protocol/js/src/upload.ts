/** `fetch` that tells how much of the body is on its way: browsers tell that of XMLHttpRequest alone. */

/** The part that is sent, from 0 to 1. */
export type OnSent = (part: number) => void;

/**
 * As `fetch` of a browser for what this API asks, with `onSent` called while the body leaves. Where there is no
 * XMLHttpRequest, as in Node, `onSent` is never called.
 */
export function fetchTelling(onSent: OnSent, otherwise: typeof fetch): typeof fetch {
  if (typeof XMLHttpRequest === "undefined") return otherwise;
  return (input, init = {}) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(init.method ?? "GET", input instanceof Request ? input.url : input);
      request.responseType = "blob";
      for (const [name, value] of new Headers(init.headers)) request.setRequestHeader(name, value);
      const { signal } = init;
      const stop = () => {
        request.abort();
      };
      const end = (what: () => void) => () => {
        signal?.removeEventListener("abort", stop);
        what();
      };
      request.upload.onprogress = ({ loaded, total }) => {
        onSent(total === 0 ? 1 : loaded / total);
      };
      request.onload = end(() => {
        // A status with which no body goes together is thrown.
        const answer = async () => Promise.resolve(new Response(request.response as Blob, { status: request.status }));
        answer().then(resolve, reject);
      });
      request.onerror = end(() => {
        reject(new TypeError("the request failed"));
      });
      request.onabort = end(() => {
        reject(new DOMException("given up", "AbortError"));
      });
      signal?.addEventListener("abort", stop);
      if (signal?.aborted === true) reject(new DOMException("given up", "AbortError"));
      else request.send(init.body as XMLHttpRequestBodyInit);
    });
}
