import { RefusedError, type HistoryPage } from "@panda/client";
import { expect, test } from "vitest";
import { PageLoader } from "../../src/conversation/page_loader";
import { makeStore } from "../../src/state/store";
import { said, tea } from "./support/fake_client";

interface Question {
  readonly after: number;
  readonly answer: (page: HistoryPage) => void;
  readonly refuse: (label: string) => void;
}

function start() {
  const questions: Question[] = [];
  const refusals: (string | null)[] = [];
  const client = {
    history: (_: unknown, query?: { after?: number }) =>
      new Promise<HistoryPage>((answer, reject) => {
        const refuse = (label: string) => reject(new RefusedError({ code: 1, label, text: "", retryAfterMs: 0 }));
        questions.push({ after: query?.after ?? -1, answer, refuse });
      }),
  };
  const loader = new PageLoader(client, tea, makeStore().dispatch, (refusal) => refusals.push(refusal?.label ?? null));
  return { loader, questions, refusals };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));
const page = (from: HistoryPage["from"], last: number): HistoryPage => ({ events: [said(last, "x")], beginsAt: 1, head: 1_000, from });

test("few questions at once, the newest page first, and none for what was passed by", async () => {
  const { loader, questions } = start();
  loader.want([0, 1, 2, 3]);
  expect(questions.map((one) => one.after)).toEqual([191, 127]);
  loader.want([9]);
  questions[0]?.answer(page("server", 255));
  await settled();
  questions[1]?.answer(page("server", 191));
  await settled();
  expect(questions.map((one) => one.after)).toEqual([191, 127, 575]);
});

test("what this machine alone could not answer is asked again when the connection is back, and not before", async () => {
  const { loader, questions } = start();
  loader.want([3]);
  questions[0]?.answer(page("store", 200));
  await settled();
  loader.want([3]);
  expect(questions).toHaveLength(1);
  loader.again();
  expect(questions).toHaveLength(2);
  questions[1]?.answer(page("server", 255));
  await settled();
  // It came whole; if it is wanted again, it left the memory meanwhile.
  loader.want([3]);
  expect(questions).toHaveLength(3);
});

test("a refusal is told, and a person may try again", async () => {
  const { loader, questions, refusals } = start();
  loader.want([0]);
  questions[0]?.refuse("unavailable");
  await settled();
  expect(refusals.at(-1)).toBe("unavailable");
  loader.want([0]);
  expect(questions).toHaveLength(1);
  loader.again();
  expect(refusals.at(-1)).toBeNull();
  expect(questions).toHaveLength(2);
});
