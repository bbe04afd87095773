/** What one user's data on one server is called. */

import type { UserId } from "../ids.js";

/** The database of one user on one server, and the lock of the tab that leads. */
export const storeName = ({ user, url }: { readonly user: UserId; readonly url: string }): string =>
  `panda ${user} ${url}`;
