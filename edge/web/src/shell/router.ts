/** From the address to what is shown, and back. All addresses lie under `/app`; the API has the others. */

import type { ChatId } from "@panda/client";
import { useSyncExternalStore } from "react";

export type Route =
  | { readonly screen: "chats" }
  | { readonly screen: "chat"; readonly chat: ChatId; readonly panel: "members" | null }
  | { readonly screen: "new" }
  | { readonly screen: "profile" }
  | { readonly screen: "devices" }
  | { readonly screen: "signIn" }
  | { readonly screen: "signUp" }
  | { readonly screen: "nowhere" };

/** Identifiers are 26 characters of base32; anything else in an address names nothing. */
const chatPath = /^\/app\/chat\/([0-9a-hjkmnp-tv-z]{26})(\/members)?$/;

export function routeOf(path: string): Route {
  const chat = chatPath.exec(path);
  if (chat?.[1] !== undefined) {
    return { screen: "chat", chat: chat[1] as ChatId, panel: chat[2] === undefined ? null : "members" };
  }
  switch (path) {
    case "/":
    case "/app":
    case "/app/":
      return { screen: "chats" };
    case "/app/new":
      return { screen: "new" };
    case "/app/profile":
      return { screen: "profile" };
    case "/app/devices":
      return { screen: "devices" };
    case "/app/sign-in":
      return { screen: "signIn" };
    case "/app/sign-up":
      return { screen: "signUp" };
    default:
      return { screen: "nowhere" };
  }
}

export function pathOf(route: Route): string {
  switch (route.screen) {
    case "chat":
      return `/app/chat/${route.chat}${route.panel === null ? "" : `/${route.panel}`}`;
    case "new":
      return "/app/new";
    case "profile":
      return "/app/profile";
    case "devices":
      return "/app/devices";
    case "signIn":
      return "/app/sign-in";
    case "signUp":
      return "/app/sign-up";
    case "chats":
    case "nowhere":
      return "/app";
  }
}

const listeners = new Set<() => void>();
const tell = () => {
  for (const listener of listeners) listener();
};
addEventListener("popstate", tell);

export function go(route: Route, how: "push" | "replace" = "push"): void {
  const path = pathOf(route);
  if (path === location.pathname) return;
  if (how === "push") history.pushState(null, "", path);
  else history.replaceState(null, "", path);
  tell();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The path, because it is the same text while nothing changed. */
export function useRoute(): Route {
  return routeOf(useSyncExternalStore(subscribe, () => location.pathname));
}
