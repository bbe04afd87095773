/** A link to a part of the application: an ordinary one to the browser, which may open it in another tab. */

import type { ComponentProps, MouseEvent } from "react";
import { go, pathOf, type Route } from "./router";

export function Link({ to, onClick, ...rest }: Omit<ComponentProps<"a">, "href"> & { to: Route }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!isPlain || event.defaultPrevented) return;
    event.preventDefault();
    go(to);
  };
  return <a {...rest} href={pathOf(to)} onClick={follow} />;
}
