/** What somebody chose for this browser: colours, language, pictures. Other tabs follow at once. */

import { useSyncExternalStore } from "react";
import { keep, kept } from "../account/saved";

export interface Settings {
  readonly theme: "system" | "light" | "dark";
  readonly language: "system" | "en" | "ar";
  /** Whether pictures are loaded from the addresses that people name; see the profile's text. */
  readonly pictures: "off" | "on";
}

const allowed: { readonly [Key in keyof Settings]: readonly Settings[Key][] } = {
  theme: ["system", "light", "dark"],
  language: ["system", "en", "ar"],
  pictures: ["off", "on"],
};

const defaults: Settings = { theme: "system", language: "system", pictures: "off" };

const listeners = new Set<() => void>();
/** Chosen here, also where nothing can be kept. */
const chosen = new Map<string, string>();
const tell = () => {
  for (const listener of listeners) listener();
};
addEventListener("storage", (event) => {
  const key = event.key?.startsWith("panda.settings.") === true ? event.key.slice("panda.settings.".length) : null;
  if (key === null || !(key in allowed)) return;
  chosen.delete(key);
  tell();
});

export function setting<Key extends keyof Settings>(key: Key): Settings[Key] {
  const text = chosen.get(key) ?? kept(`panda.settings.${key}`);
  return allowed[key].find((value) => value === text) ?? defaults[key];
}

export function choose<Key extends keyof Settings>(key: Key, value: Settings[Key]): void {
  chosen.set(key, value);
  keep(`panda.settings.${key}`, value);
  tell();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSetting<Key extends keyof Settings>(key: Key): [Settings[Key], (value: Settings[Key]) => void] {
  const value = useSyncExternalStore(subscribe, () => setting(key));
  return [value, (next) => choose(key, next)];
}

/** Lays the chosen colours on the page; without a choice those of the device. */
export function applyTheme(): void {
  const theme = setting("theme");
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  for (const meta of document.querySelectorAll<HTMLMetaElement>('meta[name="theme-color"]')) {
    const isDark = theme === "system" ? meta.media.includes("dark") : theme === "dark";
    meta.content = isDark ? "#121513" : "#f6f6f1";
  }
}
listeners.add(applyTheme);
