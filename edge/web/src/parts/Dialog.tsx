/**
 * The browser's own modal dialog: the rest of the page is inert, Escape closes it, and the focus goes back to where it
 * was.
 */

import { useEffect, useId, useRef, type ReactNode } from "react";
import { useLocale } from "../texts/locale";
import { IconButton } from "./Button";

export interface DialogProps {
  readonly title: string;
  /** Absent: only an answer closes it. */
  readonly onClose?: () => void;
  readonly children: ReactNode;
}

export function Dialog({ title, onClose, children }: DialogProps) {
  const { t } = useLocale();
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (!element) return;
    const before = document.activeElement;
    element.showModal();
    return () => {
      element.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      className="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClick={(event) => {
        // On the dialog itself is beside what is in it.
        if (event.target === dialog.current) onClose?.();
      }}
    >
      <div className="dialog-body">
        <header className="dialog-head">
          <h2 id={id}>{title}</h2>
          {onClose ? <IconButton icon="close" label={t.close} onClick={onClose} /> : null}
        </header>
        {children}
      </div>
    </dialog>
  );
}
