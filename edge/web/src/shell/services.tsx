/** What the components work with: who is logged in, and the client that belongs to it. */

import type { Client, Refusal } from "@panda/client";
import { RefusedError } from "@panda/client";
import { createContext, use, useSyncExternalStore } from "react";
import type { Accounts, Session } from "../account/accounts";

export const AccountsContext = createContext<Accounts | null>(null);
export const SessionContext = createContext<Session | null>(null);

export function useAccounts(): Accounts {
  const accounts = use(AccountsContext);
  if (!accounts) throw new Error("there are no accounts around this component");
  return accounts;
}

export function useCurrentSession(): Session | null {
  const accounts = useAccounts();
  return useSyncExternalStore(accounts.subscribe, accounts.session);
}

/** Only below what is shown to somebody who is logged in. */
export function useSession(): Session {
  const session = use(SessionContext);
  if (!session) throw new Error("nobody is logged in around this component");
  return session;
}

export const useClient = (): Client => useSession().client;

/** Why something was refused; what is no refusal is a mistake of this page, and is told as one. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof RefusedError) return error.refusal;
  console.error(error);
  return { code: 0, label: "page", text: error instanceof Error ? error.message : String(error), retryAfterMs: 0 };
}
