/** Ways in with an account elsewhere, where the server has some. */

import { useEffect, useState } from "react";
import type { LoginProvider, Refusal } from "@panda/client";
import { Button } from "../../parts/Button";
import { refusalOf, useAccounts } from "../../shell/services";
import { useLocale } from "../../texts/locale";
import { beginAt, isPossible, type Purpose } from "./flow";

/** Those of the server; none while it is not known. A server that does not answer is told of where something is asked. */
export function useProviders(): readonly LoginProvider[] {
  const { http } = useAccounts();
  const [providers, setProviders] = useState<readonly LoginProvider[]>([]);
  useEffect(() => {
    let isWanted = true;
    http.loginProviders().then(
      (found) => isWanted && setProviders(found),
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [http]);
  return providers;
}

export function ProviderButtons({ purpose }: { purpose: Purpose }) {
  const { http } = useAccounts();
  const { t, refusal: say } = useLocale();
  const providers = useProviders();
  const [isBusy, setIsBusy] = useState(false);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  if (providers.length === 0 || !isPossible()) return null;
  const begin = (provider: string) => {
    if (isBusy) return;
    setIsBusy(true);
    setRefusal(null);
    // Where it works, this page is left: it stays busy until then.
    beginAt(http, provider, purpose).catch((error: unknown) => {
      setRefusal(refusalOf(error));
      setIsBusy(false);
    });
  };
  return (
    <div className="form">
      {providers.map(({ name, label }) => (
        <Button key={name} className="button-wide" aria-disabled={isBusy} onClick={() => begin(name)}>
          {purpose === "link" ? t.providers.link(label) : t.providers.logIn(label)}
        </Button>
      ))}
      {refusal === null ? null : (
        <p className="form-error" role="alert">
          {say(refusal)}
        </p>
      )}
    </div>
  );
}
