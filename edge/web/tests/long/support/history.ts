/** A chat in which a whole transcript was said, by everybody who said it, at the times at which they did. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Server } from "../../journeys/support/server";
import { People } from "./people";
import type { ShiftedClock } from "./shifted_clock";
import { readTranscript, type Day } from "./transcript";

/** Messages under way at once. What is stored together costs the server one sync. */
const UNDER_WAY = 48;
/** Members that one request makes a chat with, and members that one adds. */
const MADE_WITH = 9_999;
const ADDED_AT_ONCE = 100;

export interface History {
  readonly chat: string;
  readonly name: string;
  readonly owner: string;
  /** What was said under each number of the chat, as the server told it; `null` for what is no message. */
  readonly texts: readonly (string | null)[];
  /** The days, and the first message of each. */
  readonly days: readonly { readonly date: string; readonly seq: number }[];
  /** Who said something. */
  readonly users: readonly string[];
}

/** Says all of it, or takes what was said before into the same data folder. */
export async function sayTranscript(server: Server, clock: ShiftedClock): Promise<History> {
  const file = join(server.folder, "history.json");
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as History;
  const days = readTranscript();
  const [first] = days;
  if (!first) throw new Error("the transcript is empty");
  const begin = Date.now();
  // The day before the first one, whose first event is a message then.
  clock.set(Date.parse(`${first.date}T00:00:00Z`) - 86_400_000);
  const people = new People(server);
  const names = namesOf(days);
  const owner = "archivist";
  await people.know([owner, ...names.values()]);
  const chat = await people.makeChat("history", "Ubuntu", owner, [...names.values()].slice(0, MADE_WITH));
  for (let at = MADE_WITH; at < names.size; at += ADDED_AT_ONCE) {
    await people.add(chat, owner, [...names.values()].slice(at, at + ADDED_AT_ONCE));
  }
  const texts: (string | null)[] = [];
  const starts: { date: string; seq: number }[] = [];
  for (const { date, lines } of days) {
    clock.set(lines[0]?.atMs ?? 0);
    // Whose tokens are from another year has to come again.
    await people.know([...new Set(lines.map(({ user }) => names.get(user) ?? user))]);
    let start = Infinity;
    for (let at = 0; at < lines.length; at += UNDER_WAY) {
      const batch = lines.slice(at, at + UNDER_WAY);
      clock.set(batch[0]?.atMs ?? 0);
      const seqs = await Promise.all(batch.map(({ user, text }) => people.say(chat, names.get(user) ?? user, text)));
      seqs.forEach((seq, place) => (texts[seq] = batch[place]?.text ?? null));
      start = Math.min(start, ...seqs);
    }
    starts.push({ date, seq: start });
  }
  clock.reset();
  const said = texts.filter((text) => typeof text === "string").length;
  console.log(`said ${said} messages of ${names.size} people in ${days.length} days, in ${Math.round((Date.now() - begin) / 1000)} s`);
  const history = { chat, name: "Ubuntu", owner, texts: Array.from(texts, (text) => text ?? null), days: starts, users: [...names.values()] };
  writeFileSync(file, JSON.stringify(history));
  return history;
}

/** Usernames of who speaks: their own where they are ones here, and are not another's in other letters. */
function namesOf(days: readonly Day[]): Map<string, string> {
  const names = new Map<string, string>();
  const taken = new Set(["archivist"]);
  for (const { lines } of days) {
    for (const { user } of lines) {
      if (names.has(user)) continue;
      const isOne = /^[A-Za-z0-9_][A-Za-z0-9._-]{2,31}$/u.test(user) && !taken.has(user.toLowerCase());
      const name = isOne ? user : `someone.${names.size}`;
      taken.add(name.toLowerCase());
      names.set(user, name);
    }
  }
  return names;
}
