import { act, memo, type ComponentType } from "react";
import { createRoot, type Root } from "react-dom/client";
import { Provider } from "react-redux";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { HttpApi } from "@panda/client";
import { Accounts } from "../../src/account/accounts";
import { TEXT_BYTES_MAX } from "../../src/conversation/Composer";
import { App } from "../../src/shell/App";
import { go } from "../../src/shell/router";
import { AccountsContext } from "../../src/shell/services";
import { makeStore } from "../../src/state/store";
import { LocaleProvider } from "../../src/texts/locale";
import { ada, ben, cake, FakeClient, said, summary, tea } from "./support/fake_client";

/** How often each component was drawn, by its name. */
const drawn = new Map<string, number>();
vi.mock("../../src/chats/ChatRow", async (load) => {
  const original = await load<typeof import("../../src/chats/ChatRow")>();
  return { ...original, ChatRow: counted("ChatRow", original.ChatRow) };
});
vi.mock("../../src/conversation/Row", async (load) => {
  const original = await load<typeof import("../../src/conversation/Row")>();
  return { ...original, EventRow: counted("EventRow", original.EventRow) };
});

/** Skips what the component itself would skip, and counts the rest. */
function counted<Props extends object>(name: string, Inner: ComponentType<Props>): ComponentType<Props> {
  return memo(function Counted(props: Props) {
    drawn.set(name, (drawn.get(name) ?? 0) + 1);
    return <Inner {...props} />;
  });
}

let root: Root;
let client: FakeClient;

beforeEach(async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  vi.useFakeTimers();
  localStorage.clear();
  document.body.innerHTML = "<div id='root'></div>";
  Object.defineProperty(document, "fonts", { value: { ready: Promise.resolve() }, configurable: true });
  client = new FakeClient();
  client.events.set(tea, [said(1, "one"), said(2, "two")]);
  const store = makeStore();
  const http = { user: (id: string) => Promise.resolve({ id, username: id === ben ? "ben" : "ada", picture: null, version: 1 }) };
  const accounts = new Accounts({ store, open: () => client, api: () => http as unknown as HttpApi, url: "http://localhost" });
  accounts.signedIn({ accessToken: "t", expiresInMs: 1e6, refreshToken: null, user: { id: ada, username: "ada" } });
  go({ screen: "chat", chat: tea, panel: null });
  root = createRoot(document.getElementById("root") ?? document.body);
  await act(async () => {
    root.render(
      <Provider store={store}>
        <LocaleProvider>
          <AccountsContext value={accounts}>
            <App />
          </AccountsContext>
        </LocaleProvider>
      </Provider>,
    );
    await vi.advanceTimersByTimeAsync(10);
  });
  await happens(
    { type: "connection", connection: { state: "online", session: "2h" as never, current: true, expiresAtMs: 0 } },
    { type: "chats", chats: [summary(tea, { head: 2, last: said(2, "two") }), summary(cake, { last: said(1, "c") })], complete: true },
  );
});

afterEach(() => {
  act(() => root.unmount());
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function happens(...events: Parameters<FakeClient["emit"]>): Promise<void> {
  await act(async () => {
    client.emit(...events);
    await vi.advanceTimersByTimeAsync(200);
  });
}

const text = () => document.body.textContent;

test("a signal draws the words about it and no list", async () => {
  expect(document.querySelectorAll("a.chat-row")).toHaveLength(2);
  expect(text()).toContain("one");
  const lists = () => [document.querySelector(".chats ul"), document.querySelector(".timeline-block")];
  const before = lists();
  const changes: MutationRecord[] = [];
  const observer = new MutationObserver((records) => changes.push(...records));
  for (const list of before) if (list) observer.observe(list, { childList: true, subtree: false });
  drawn.clear();
  await happens({ type: "typing", chat: tea, user: ben, typing: true });
  expect(text()).toContain("ben is typing");
  // The preview of the chat draws itself; rows of messages and of chats draw nothing.
  expect(drawn.get("EventRow") ?? 0).toBe(0);
  expect(drawn.get("ChatRow") ?? 0).toBe(0);
  expect(changes).toHaveLength(0);
  drawn.clear();
  await happens({ type: "typing", chat: cake, user: ben, typing: true }, { type: "typing", chat: tea, user: ben, typing: false });
  expect(text()).not.toContain("are typing");
  expect(drawn.get("EventRow") ?? 0).toBe(0);
  observer.disconnect();
});

test("a message draws itself and not those before it", async () => {
  drawn.clear();
  await happens({ type: "events", chat: tea, events: [said(3, "three")] });
  expect(text()).toContain("three");
  expect(drawn.get("EventRow") ?? 0).toBe(1);
});

test("what is typed is kept, sent once, and put back if the outbox takes nothing", async () => {
  const field = document.querySelector<HTMLTextAreaElement>(".composer textarea");
  if (!field) throw new Error("there is a field to write in");
  await act(async () => {
    // React notices what is set past it only through the element's own setter.
    Reflect.set(HTMLTextAreaElement.prototype, "value", "hello", field);
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await vi.advanceTimersByTimeAsync(500);
  });
  expect(localStorage.getItem(`panda.drafts.${ada}`)).toContain("hello");
  await act(async () => {
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    await vi.advanceTimersByTimeAsync(10);
  });
  const sent = client.asked.filter((asked) => asked.what === "send");
  expect(sent.map((asked) => asked.args)).toEqual([[tea, "hello"]]);
  expect(field.value).toBe("");
  expect(localStorage.getItem(`panda.drafts.${ada}`)).toBeNull();
  const { RefusedError } = await import("@panda/client");
  await act(async () => {
    sent[0]?.refuse(new RefusedError({ code: 6, label: "too_many_waiting", text: "", retryAfterMs: 0 }));
    await vi.advanceTimersByTimeAsync(10);
  });
  expect(field.value).toBe("hello");
});

test("a text that is far too long stays in the field without lines to break, and is refused at once", async () => {
  const field = document.querySelector<HTMLTextAreaElement>(".composer textarea");
  if (!field) throw new Error("there is a field to write in");
  const type = async (value: string) =>
    act(async () => {
      Reflect.set(HTMLTextAreaElement.prototype, "value", value, field);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await vi.advanceTimersByTimeAsync(500);
    });
  const word = "w".repeat(1 << 20);
  await type(word);
  expect(field.className).toBe("is-huge");
  expect(document.querySelector("[role=alert]")?.textContent).toContain("shorten it or send it in parts");
  await act(async () => {
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    await vi.advanceTimersByTimeAsync(10);
  });
  expect(client.asked.filter((asked) => asked.what === "send")).toHaveLength(0);
  expect(field.value).toBe(word);
  await type("w".repeat(TEXT_BYTES_MAX + 1));
  expect(field.className).toBe("");
  expect(document.querySelector("[role=alert]")).not.toBeNull();
  await type("w".repeat(TEXT_BYTES_MAX));
  expect(document.querySelector("[role=alert]")).toBeNull();
});
