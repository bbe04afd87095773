/** How it stands with the connection and with what is kept on this machine. */

import type { Connection, SessionId, Sharing, StorageState } from "@panda/client";
import type { UnknownAction } from "@reduxjs/toolkit";
import { applied, forgotten, type Update } from "./world";

export interface Link {
  readonly connection: Connection;
  readonly sharing: Sharing | null;
  readonly storage: StorageState | null;
  /** More events wait than this page has taken. */
  readonly lagging: boolean;
  /** The base URL of the server where the last session was; `null`: there was none yet. */
  readonly place: string | null;
}

export const noLink: Link = { connection: { state: "connecting", attempt: 0 }, sharing: null, storage: null, lagging: false, place: null };

/**
 * The session that is open. Whoever asks the server asks again in another one: what was under way ended with the old one,
 * also where the connection moved to another server and never went away.
 */
export const sessionOf = ({ link: { connection } }: { readonly link: Link }): SessionId | null =>
  connection.state === "online" ? connection.session : null;

export function linkReducer(link: Link = noLink, action: UnknownAction): Link {
  if (forgotten.match(action)) return noLink;
  return applied.match(action) ? action.payload.reduce(apply, link) : link;
}

function apply(link: Link, update: Update): Link {
  switch (update.type) {
    case "connection":
      return {
        ...link,
        connection: update.connection,
        lagging: false,
        place: update.connection.state === "online" ? update.connection.url : link.place,
      };
    case "sharing":
      return { ...link, sharing: update.sharing };
    case "storage":
      return { ...link, storage: update.storage };
    case "lagging":
      return link.lagging ? link : { ...link, lagging: true };
    case "events":
      return link.lagging ? { ...link, lagging: false } : link;
    default:
      return link;
  }
}
