/** A real conversation of 153 days: public logs of IRC, laid beside the checkout. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const beside = fileURLToPath(new URL("../../../../../../shared/data", import.meta.url));
const file = join(process.env["TRANSCRIPTS"] ?? beside, "ubuntu-irc.jsonl.gz");

export interface Line {
  readonly user: string;
  readonly text: string;
  readonly atMs: number;
}

export interface Day {
  /** As a date field writes it. */
  readonly date: string;
  readonly lines: readonly Line[];
}

export const isTranscriptHere = (): boolean => existsSync(file);

/** In the order in which it was said. */
export function readTranscript(): Day[] {
  const days: { date: string; lines: Line[] }[] = [];
  for (const text of gunzipSync(readFileSync(file)).toString("utf8").split("\n")) {
    if (text === "") continue;
    const line = JSON.parse(text) as { chat: string; minute: number; user: string; text: string };
    const date = /\d{4}-\d\d-\d\d/u.exec(line.chat)?.[0];
    if (date === undefined) throw new Error(`the chat ${line.chat} has no day in its name`);
    if (days.at(-1)?.date !== date) days.push({ date, lines: [] });
    days.at(-1)?.lines.push({ user: line.user, text: line.text, atMs: Date.parse(`${date}T00:00:00Z`) + line.minute * 60_000 });
  }
  return days;
}
