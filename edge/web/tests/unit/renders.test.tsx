import { RefusedError } from "@panda/client";
import { memo, type ComponentType } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TEXT_BYTES_MAX } from "../../src/conversation/Composer";
import { ada, ben, cake, said, tea } from "./support/fake_client";
import { openPage, press, types, type OpenPage } from "./support/page";

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

let page: OpenPage;

beforeEach(async () => {
  page = await openPage();
});

afterEach(() => page.close());

const happens: OpenPage["happens"] = (...events) => page.happens(...events);

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
  await page.does(() => types(field, "hello"), 500);
  expect(localStorage.getItem(`panda.draft.${ada}.${tea}`)).toBe("hello");
  await page.does(() => press("Enter", field));
  const sent = page.client.asked.filter((asked) => asked.what === "send");
  expect(sent.map((asked) => asked.args)).toEqual([[tea, "hello"]]);
  expect(field.value).toBe("");
  expect(Object.keys(localStorage).filter((key) => key.startsWith("panda.draft."))).toEqual([]);
  await page.does(() => sent[0]?.refuse(new RefusedError({ code: 6, label: "too_many_waiting", text: "", retryAfterMs: 0 })));
  expect(field.value).toBe("hello");
});

test("a text that is far too long stays in the field without lines to break, and is refused at once", async () => {
  const field = document.querySelector<HTMLTextAreaElement>(".composer textarea");
  if (!field) throw new Error("there is a field to write in");
  const type = (value: string) => page.does(() => types(field, value), 500);
  const word = "w".repeat(1 << 20);
  await type(word);
  expect(field.className).toBe("is-huge");
  expect(document.querySelector("[role=alert]")?.textContent).toContain("shorten it or send it in parts");
  await page.does(() => press("Enter", field));
  expect(page.client.asked.filter((asked) => asked.what === "send")).toHaveLength(0);
  expect(field.value).toBe(word);
  await type("w".repeat(TEXT_BYTES_MAX + 1));
  expect(field.className).toBe("");
  expect(document.querySelector("[role=alert]")).not.toBeNull();
  await type("w".repeat(TEXT_BYTES_MAX));
  expect(document.querySelector("[role=alert]")).toBeNull();
});
