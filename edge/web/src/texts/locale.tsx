/** Which language the page speaks, and how it writes numbers, days and times. */

import type { Refusal } from "@panda/client";
import { createContext, use, useEffect, useMemo, useState, type ReactNode } from "react";
import { useSetting } from "../shell/settings";
import { en, type Texts } from "./en";

export type Language = "en" | "ar";

/** Everything but English comes when it is wanted: who never reads Arabic never loads it. */
const load: Record<Language, () => Promise<Texts>> = {
  en: () => Promise.resolve(en),
  ar: async () => (await import("./ar")).ar,
};

export interface Locale {
  readonly t: Texts;
  readonly language: Language;
  readonly dir: "ltr" | "rtl";
  /** "14:05" or "2:05 PM", as the language has it. */
  readonly time: (ms: number) => string;
  /** The day with its name, for separators. */
  readonly day: (ms: number) => string;
  /** For a list: the time today, the weekday within a week, then the date. */
  readonly short: (ms: number, now: number) => string;
  /** The date and the time, for a sentence. */
  readonly moment: (ms: number) => string;
  /** All of it, for who points at a time. */
  readonly full: (ms: number) => string;
  readonly count: (value: number) => string;
  /** What a refusal says to a person. */
  readonly refusal: (refusal: Refusal) => string;
}

export const DAY_MS = 86_400_000;

/** Whether two moments are on one day here. */
export function isSameDay(a: number, b: number): boolean {
  return Math.abs(a - b) < DAY_MS && new Date(a).getDate() === new Date(b).getDate();
}

/** With the browser's own region, if it is of this language: who reads English in Europe counts hours to 24. */
function tagOf(language: Language): string {
  return navigator.languages.find((tag) => tag.split("-")[0] === language) ?? language;
}

export function makeLocale(language: Language, t: Texts): Locale {
  const tag = tagOf(language);
  const time = new Intl.DateTimeFormat(tag, { hour: "numeric", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(tag, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
  const weekday = new Intl.DateTimeFormat(tag, { weekday: "short" });
  const date = new Intl.DateTimeFormat(tag, { year: "2-digit", month: "numeric", day: "numeric" });
  const full = new Intl.DateTimeFormat(tag, { dateStyle: "full", timeStyle: "medium" });
  const moment = new Intl.DateTimeFormat(tag, { dateStyle: "medium", timeStyle: "short" });
  const count = new Intl.NumberFormat(tag);
  return {
    t,
    language,
    dir: language === "ar" ? "rtl" : "ltr",
    time: (ms) => time.format(ms),
    day: (ms) => day.format(ms),
    short: (ms, now) => (isSameDay(ms, now) ? time : now - ms < 6 * DAY_MS && ms < now ? weekday : date).format(ms),
    moment: (ms) => moment.format(ms),
    full: (ms) => full.format(ms),
    count: (value) => count.format(value),
    refusal: (refusal) => t.refusals[refusal.label] ?? refusal.text,
  };
}

export function preferredLanguage(languages: readonly string[]): Language {
  const known = languages.map((tag) => tag.split("-")[0]).find((language) => language === "en" || language === "ar");
  return known === "ar" ? "ar" : "en";
}

const LocaleContext = createContext(makeLocale("en", en));

export const useLocale = (): Locale => use(LocaleContext);

export function LocaleProvider({ children }: { children: ReactNode }) {
  const [chosen] = useSetting("language");
  const language = chosen === "system" ? preferredLanguage(navigator.languages) : chosen;
  const [loaded, setLoaded] = useState<{ language: Language; texts: Texts } | null>(
    language === "en" ? { language, texts: en } : null,
  );
  useEffect(() => {
    let isWanted = true;
    load[language]()
      .then((texts) => isWanted && setLoaded({ language, texts }))
      // A catalogue that cannot be fetched leaves the page in the language that it has.
      .catch(() => isWanted && setLoaded((before) => before ?? { language: "en", texts: en }));
    return () => {
      isWanted = false;
    };
  }, [language]);
  const locale = useMemo(() => (loaded ? makeLocale(loaded.language, loaded.texts) : null), [loaded]);
  useEffect(() => {
    if (!locale) return;
    document.documentElement.lang = locale.language;
    document.documentElement.dir = locale.dir;
  }, [locale]);
  // For a moment there is nothing to say yet in the language that is wanted.
  return locale ? <LocaleContext value={locale}>{children}</LocaleContext> : null;
}
