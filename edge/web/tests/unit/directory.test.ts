import { RefusedError, type Profile, type UserId } from "@panda/client";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Directory, FRESH_MS, LOOK_EVERY_MS, WAITING_MAX } from "../../src/people/directory";
import { makeStore, type Store } from "../../src/state/store";
import { ada } from "./support/fake_client";

const user = (number: number) => `user ${String(number)}` as UserId;

interface Question {
  readonly id: UserId;
  readonly answer: (profile: Profile) => void;
  readonly refuse: (error: RefusedError) => void;
}

let store: Store;
let questions: Question[];
let directory: Directory;

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  store = makeStore();
  questions = [];
  const http = { user: (id: UserId) => new Promise<Profile>((answer, refuse) => questions.push({ id, answer, refuse })) };
  directory = new Directory(http, store, ada);
});

afterEach(() => {
  directory.close();
  vi.useRealTimers();
});

const open = () => questions.map(({ id }) => id);
/** Answers the oldest question, or refuses it. */
async function next(refusal?: { label: string; retryAfterMs: number }): Promise<UserId> {
  const question = questions.shift();
  if (!question) throw new Error("nobody is asked for");
  if (refusal) question.refuse(new RefusedError({ code: 1, text: "", ...refusal }));
  else question.answer({ id: question.id, username: `name of ${question.id}`, picture: null, version: 1 });
  await vi.advanceTimersByTimeAsync(0);
  return question.id;
}

test("each person is asked for once, and whoever is wanted last comes first", async () => {
  for (let one = 0; one < 8; one += 1) directory.want(user(one));
  directory.want(user(5));
  expect(open()).toEqual([0, 1, 2, 3].map(user));
  await next();
  expect(open()).toEqual([1, 2, 3, 7].map(user));
  expect(store.getState().people[user(0)]?.username).toBe(`name of ${user(0)}`);
  directory.want(user(0));
  for (let left = 0; left < 7; left += 1) await next();
  expect(open()).toEqual([]);
});

test("a server that wants fewer questions gets none for as long as it says, and then those again that it refused", async () => {
  for (let one = 0; one < 6; one += 1) directory.want(user(one));
  for (let one = 0; one < 4; one += 1) await next({ label: "rate_limited", retryAfterMs: 20_000 });
  directory.want(user(6));
  await vi.advanceTimersByTimeAsync(19_000);
  expect(open()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_000);
  const asked: UserId[] = [];
  while (questions.length > 0) asked.push(await next());
  expect(asked.slice(0, 3)).toEqual([6, 5, 4].map(user));
  expect(asked.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6].map(user));
});

test("whoever was passed by in a long history is not asked for, but when shown again", async () => {
  const many = WAITING_MAX + 100;
  for (let one = 0; one < many; one += 1) directory.want(user(one));
  let count = 0;
  for (; questions.length > 0; count += 1) await next();
  expect(count).toBe(WAITING_MAX + 4);
  expect(store.getState().people[user(50)]).toBeUndefined();
  directory.want(user(50));
  expect(open()).toEqual([user(50)]);
});

describe("whoever is on the screen", () => {
  const named = (username: string, version: number): Promise<void> => {
    questions.shift()?.answer({ id: user(1), username, picture: null, version });
    return vi.advanceTimersByTimeAsync(0).then(() => undefined);
  };
  const hides = (is: boolean) => vi.spyOn(document, "visibilityState", "get").mockReturnValue(is ? "hidden" : "visible");
  afterEach(() => vi.restoreAllMocks());

  test("is asked for again when what is known is ten minutes old, and a new name is seen within eleven", async () => {
    const leave = directory.show(user(1));
    await named("before", 1);
    await vi.advanceTimersByTimeAsync(FRESH_MS - LOOK_EVERY_MS);
    expect(open()).toEqual([]);
    await vi.advanceTimersByTimeAsync(2 * LOOK_EVERY_MS);
    expect(open()).toEqual([user(1)]);
    await named("after", 2);
    expect(store.getState().people[user(1)]?.username).toBe("after");
    // Nobody changed: nothing is drawn anew.
    const { people } = store.getState();
    await vi.advanceTimersByTimeAsync(FRESH_MS + LOOK_EVERY_MS);
    await named("after", 2);
    expect(store.getState().people).toBe(people);
    leave();
    await vi.advanceTimersByTimeAsync(3 * FRESH_MS);
    expect(open()).toEqual([]);
    directory.show(user(1));
    expect(open()).toEqual([user(1)]);
  });

  test("twice is asked for once, and until it left both places", async () => {
    const [one, other] = [directory.show(user(1)), directory.show(user(1))];
    await named("ada", 1);
    one();
    await vi.advanceTimersByTimeAsync(FRESH_MS + LOOK_EVERY_MS);
    expect(open()).toEqual([user(1)]);
    // While the answer is under way nobody asks again.
    await vi.advanceTimersByTimeAsync(5 * LOOK_EVERY_MS);
    expect(open()).toEqual([user(1)]);
    await named("ada", 1);
    other();
    await vi.advanceTimersByTimeAsync(2 * FRESH_MS);
    expect(open()).toEqual([]);
  });

  test("of a page that nobody sees is asked for when somebody comes back to it", async () => {
    directory.show(user(1));
    await named("ada", 1);
    hides(true);
    await vi.advanceTimersByTimeAsync(5 * FRESH_MS);
    expect(open()).toEqual([]);
    hides(false);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(open()).toEqual([user(1)]);
  });
});
