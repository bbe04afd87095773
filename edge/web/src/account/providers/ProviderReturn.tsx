/** What a browser does that comes back from a provider: it logs in, or links, and says where that did not work. */

import { useEffect, useState } from "react";
import type { Refusal } from "@panda/client";
import { Button } from "../../parts/Button";
import { Dialog } from "../../parts/Dialog";
import { refusalOf, useAccounts } from "../../shell/services";
import { useLocale } from "../../texts/locale";
import type { Accounts } from "../accounts";
import { takeBegun, takeReturn, type Returned } from "./flow";

/** Read once, before anything is drawn: a page that is drawn twice does not lose it. */
const returned = takeReturn();

/** Why nothing came of it: a word, or what the server said. */
export type Failure = "denied" | "refused" | "unavailable" | "elsewhere" | Refusal;

/** Redeems what the browser came back with. `null`: it worked, or there was nothing. */
export async function finish(accounts: Accounts, came: Returned): Promise<Failure | null> {
  const begun = takeBegun();
  if (came.error !== null) return came.error === "denied" || came.error === "unavailable" ? came.error : "refused";
  // This tab began nothing: somebody else's login must not become this one's.
  if (begun === null || came.code === null) return "elsewhere";
  try {
    if (begun.purpose === "link") await accounts.http.linkIdentity(came.code, begun.secret);
    else accounts.signedIn(await accounts.http.redeemProviderLogin(came.code, begun.secret));
    if (begun.purpose === "link") {
      history.replaceState(null, "", begun.path);
      dispatchEvent(new PopStateEvent("popstate"));
    }
    return null;
  } catch (error) {
    return refusalOf(error);
  }
}

export function ProviderReturn() {
  const accounts = useAccounts();
  const { t, refusal: say } = useLocale();
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    if (returned === null || isTaken) return;
    isTaken = true;
    void finish(accounts, returned).then(setFailure);
  }, [accounts]);
  if (failure === null) return null;
  const close = () => setFailure(null);
  return (
    <Dialog title={t.providers.failed} onClose={close}>
      <p className="dialog-text" role="alert">
        {typeof failure === "string" ? t.providers.failures[failure] : say(failure)}
      </p>
      <div className="dialog-actions">
        <Button look="main" onClick={close}>
          {t.close}
        </Button>
      </div>
    </Dialog>
  );
}

/** React draws twice in development; a code is of use once. */
let isTaken = false;
