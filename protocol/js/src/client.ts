/** Makes the client of a tab. */

import type { Client, ClientOptions } from "./api.js";

/**
 * Makes a client of one user. It connects at once and stays connected until {@link Client.close}. One for each user and
 * tab.
 */
export declare function createClient(options: ClientOptions): Client;
