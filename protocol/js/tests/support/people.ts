/** Users of a server under test. Node only: a WebSocket is given. */

import { WebSocket as NodeWebSocket } from "ws";
import { createClient, createHttpApi, type Account, type Client, type ClientOptions } from "../../src/index.js";
import { View } from "./view.js";

export const webSocket = NodeWebSocket as unknown as NonNullable<ClientOptions["webSocket"]>;

export interface Person {
  readonly account: Account;
  readonly client: Client;
  readonly view: View;
}

let people = 0;

export const register = (url: string, name: string): Promise<Account> =>
  createHttpApi({ url }).register({ username: `${name}_${String(++people)}`, password: "a long password" });

/** A client of this account, a device of its own. */
export function clientOf(url: string, account: Account, options: Partial<ClientOptions> = {}): Person {
  const client = createClient({
    url,
    user: account.user.id,
    token: () => Promise.resolve(account.accessToken),
    webSocket,
    storage: "memory",
    ...options,
  });
  return { account, client, view: new View(client) };
}

/** A registered user who is online. */
export async function person(url: string, name: string, options: Partial<ClientOptions> = {}): Promise<Person> {
  const someone = clientOf(url, await register(url, name), options);
  await someone.view.online();
  return someone;
}
