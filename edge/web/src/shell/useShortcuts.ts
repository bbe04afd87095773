/** Keys that work everywhere. `Keys.tsx` lists them. */

import { useEffect, type RefObject } from "react";
import { flushSync } from "react-dom";
import { useStore } from "react-redux";
import type { State } from "../state/store";
import { go, type Route } from "./router";

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}

export function useShortcuts(route: Route, filterField: RefObject<HTMLInputElement | null>, help: () => void): void {
  const store = useStore<State>();
  useEffect(() => {
    const open = route.screen === "chat" ? route.chat : null;
    const press = (event: KeyboardEvent) => {
      // A dialog has its own keys.
      if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
      const order = () => [...store.getState().world.order];
      if (event.key === "k" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        // On a narrow screen the list is not there beside a chat.
        if (filterField.current?.offsetParent === null) flushSync(() => go({ screen: "chats" }));
        // At once: who types fast has the next letter already under way, and it belongs into this field.
        filterField.current?.focus();
      } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
        const at = open === null ? -1 : order().indexOf(open);
        const chat = order()[event.key === "ArrowDown" ? at + 1 : Math.max(0, at - 1)];
        if (chat === undefined) return;
        event.preventDefault();
        go({ screen: "chat", chat, panel: null });
      } else if (event.key === "?" && !isTyping(event.target)) {
        event.preventDefault();
        help();
      } else if (event.key === "Escape" && route.screen !== "chats") {
        event.preventDefault();
        const isPanel = route.screen === "chat" && route.panel !== null;
        go(isPanel ? { ...route, panel: null } : { screen: route.screen === "devices" ? "profile" : "chats" });
        // Where somebody came from has the focus again.
        if (!isPanel && open !== null) {
          setTimeout(() => document.querySelector<HTMLElement>(`a[data-chat="${open}"]`)?.focus());
        }
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [route, store, filterField, help]);
}
