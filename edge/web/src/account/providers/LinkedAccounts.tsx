/** In the profile: as what one logs in elsewhere. */

import { useEffect, useState } from "react";
import type { LinkedIdentity, Refusal } from "@panda/client";
import { Button } from "../../parts/Button";
import { refusalOf, useAccounts } from "../../shell/services";
import { useLocale } from "../../texts/locale";
import { ProviderButtons, useProviders } from "./ProviderButtons";

export function LinkedAccounts() {
  const { http } = useAccounts();
  const { t, refusal: say } = useLocale();
  const providers = useProviders();
  const [identities, setIdentities] = useState<readonly LinkedIdentity[]>([]);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  useEffect(() => {
    let isWanted = true;
    http.identities().then(
      (found) => isWanted && setIdentities(found),
      // A server of before this has none, and no providers either.
      () => undefined,
    );
    return () => {
      isWanted = false;
    };
  }, [http]);
  if (providers.length === 0 && identities.length === 0) return null;
  const unlink = (identity: LinkedIdentity) => {
    setRefusal(null);
    http.unlinkIdentity(identity).then(setIdentities, (error: unknown) => setRefusal(refusalOf(error)));
  };
  const labelOf = (name: string) => providers.find((provider) => provider.name === name)?.label ?? name;
  return (
    <section className="form" aria-labelledby="profile-providers">
      <h2 id="profile-providers">{t.providers.title}</h2>
      <p className="form-note">{t.providers.help}</p>
      {identities.map((identity) => (
        <div className="form-row" key={`${identity.provider} ${identity.subject}`}>
          <bdi>{identity.email === null ? labelOf(identity.provider) : `${labelOf(identity.provider)}: ${identity.email}`}</bdi>
          <Button look="danger" onClick={() => unlink(identity)} aria-label={t.providers.unlinkWhich(labelOf(identity.provider))}>
            {t.providers.unlink}
          </Button>
        </div>
      ))}
      {refusal === null ? null : (
        <p className="form-error" role="alert">
          {refusal.field === "identity" && refusal.label === "forbidden" ? t.providers.lastWayIn : say(refusal)}
        </p>
      )}
      <ProviderButtons purpose="link" />
    </section>
  );
}
