/** A mistake of the page itself shows this in place of nothing. Drafts and the outbox are kept by then. */

import { Component, type ErrorInfo, type ReactNode } from "react";
import { Button } from "../parts/Button";
import { Empty } from "../parts/Empty";
import { useLocale } from "../texts/locale";

function Words() {
  const { t } = useLocale();
  return (
    <main className="door">
      <Empty title={t.broken.title} help={t.broken.help}>
        <Button look="main" onClick={() => location.reload()}>
          {t.broken.action}
        </Button>
      </Empty>
    </main>
  );
}

export class Broken extends Component<{ children: ReactNode }, { isBroken: boolean }> {
  override state = { isBroken: false };

  static getDerivedStateFromError(): { isBroken: boolean } {
    return { isBroken: true };
  }

  override componentDidCatch(error: Error, info: ErrorInfo): void {
    console.error(error, info.componentStack);
  }

  override render(): ReactNode {
    return this.state.isBroken ? <Words /> : this.props.children;
  }
}
