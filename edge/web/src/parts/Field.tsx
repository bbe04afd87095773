/** A field with its name, what helps to fill it, and what is wrong with it, all tied together for who hears it. */

import { useId, type ComponentProps, type ReactNode } from "react";

export interface FieldProps extends Omit<ComponentProps<"input">, "id"> {
  readonly label: string;
  readonly help?: string;
  readonly error?: string | null;
  /** Beside the input, such as a button that shows what was typed. */
  readonly beside?: ReactNode;
  readonly mark?: string;
}

export function Field({ label, help, error = null, beside, mark, className = "", ...input }: FieldProps) {
  const id = useId();
  const described = [help === undefined ? "" : `${id}-help`, error === null ? "" : `${id}-error`].join(" ").trim();
  return (
    <div className={`field ${className}`}>
      <label htmlFor={id}>
        {label}
        {mark === undefined ? null : <span className="field-mark"> {mark}</span>}
      </label>
      <div className="field-row">
        <input {...input} id={id} aria-invalid={error !== null} aria-describedby={described === "" ? undefined : described} />
        {beside}
      </div>
      {help === undefined ? null : (
        <p className="field-help" id={`${id}-help`}>
          {help}
        </p>
      )}
      {error === null ? null : (
        <p className="field-error" id={`${id}-error`} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
