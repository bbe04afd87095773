/** The whole page at a client without a server, with time that only the test lets pass. */

import type { ClientEvent, HttpApi, SessionId } from "@panda/client";
import { act } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { vi } from "vitest";
import { Accounts } from "../../../src/account/accounts";
import { App } from "../../../src/shell/App";
import { go } from "../../../src/shell/router";
import { AccountsContext } from "../../../src/shell/services";
import { makeStore, type Store } from "../../../src/state/store";
import { LocaleProvider } from "../../../src/texts/locale";
import { ada, ben, cake, FakeClient, said, summary, tea } from "./fake_client";

export interface OpenPage {
  readonly client: FakeClient;
  readonly store: Store;
  readonly accounts: Accounts;
  /** Something happens, and the page is drawn. */
  readonly happens: (...events: ClientEvent[]) => Promise<void>;
  /** Somebody does something, and the page is drawn. */
  readonly does: (what: () => void, forMs?: number) => Promise<void>;
  readonly close: () => void;
}

export const online = (session = "2h"): ClientEvent => ({
  type: "connection",
  connection: { state: "online", session: session as SessionId, current: true, expiresAtMs: 0, url: "http://localhost", clockAheadMs: 0 },
});

/** Ada at the chat `tea`, in which two messages are; `cake` is below it in the list. `more` is what else the API can do. */
export async function openPage(more: Partial<HttpApi> = {}): Promise<OpenPage> {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.useFakeTimers();
  localStorage.clear();
  document.body.innerHTML = "<div id='root'></div>";
  Object.defineProperty(document, "fonts", { value: { ready: Promise.resolve() }, configurable: true });
  const client = new FakeClient();
  client.events.set(tea, [said(1, "one"), said(2, "two")]);
  const store = makeStore();
  const names: Record<string, string> = { [ada]: "ada", [ben]: "ben" };
  const http = {
    user: (of: string) => {
      const id = of === "me" ? ada : of.startsWith("@") ? of.slice(1) : of;
      const known = Object.entries(names).find(([key, name]) => key === id || name === id) ?? [id, `somebody-${id.slice(-2)}`];
      return Promise.resolve({ id: known[0], username: known[1], picture: null, version: 1 });
    },
    loginProviders: () => Promise.resolve([]),
    identities: () => Promise.resolve([]),
    ...more,
  };
  const accounts = new Accounts({ store, open: () => client, api: () => http as unknown as HttpApi, url: "http://localhost" });
  accounts.signedIn({ accessToken: "t", expiresInMs: 1e6, refreshToken: null, user: { id: ada, username: "ada" } });
  go({ screen: "chat", chat: tea, panel: null });
  const root = createRoot(document.getElementById("root") ?? document.body);
  const does = (what: () => void, forMs = 200) =>
    act(async () => {
      what();
      await vi.advanceTimersByTimeAsync(forMs);
    });
  await does(
    () =>
      root.render(
        <Provider store={store}>
          <LocaleProvider>
            <AccountsContext value={accounts}>
              <App />
            </AccountsContext>
          </LocaleProvider>
        </Provider>,
      ),
    10,
  );
  const happens = (...events: ClientEvent[]) => does(() => client.emit(...events));
  await happens(online(), {
    type: "chats",
    chats: [summary(tea, { head: 2, last: said(2, "two") }), summary(cake, { last: said(1, "c") })],
    complete: true,
  });
  const close = () => {
    act(() => root.unmount());
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
  return { client, store, accounts, happens, does, close };
}

/** As a person types: React notices what is set past it only through the element's own setter. */
export function types(field: Element | null, text: string): void {
  if (!(field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement)) throw new Error("there is no such field");
  Reflect.set(field instanceof HTMLInputElement ? HTMLInputElement.prototype : HTMLTextAreaElement.prototype, "value", text, field);
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

export const press = (key: string, on: Element | null = document.activeElement): boolean | undefined =>
  on?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

export const find = (selector: string) => document.querySelector<HTMLElement>(selector);

export const button = (name: string) =>
  [...document.querySelectorAll<HTMLElement>("button")].find((one) => one.textContent === name || one.getAttribute("aria-label") === name);
