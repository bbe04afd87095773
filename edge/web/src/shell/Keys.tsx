/** What the keyboard can do. */

import { Dialog } from "../parts/Dialog";
import { useLocale } from "../texts/locale";

export function Keys({ onClose }: { onClose: () => void }) {
  const { t } = useLocale();
  return (
    <Dialog title={t.keys.title} onClose={onClose}>
      <dl className="keys">
        {t.keys.list.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd dir="ltr">{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
