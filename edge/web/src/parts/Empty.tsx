/** What stands where there is nothing yet: what this place is, and what to do. */

import type { ReactNode } from "react";
import { Mark } from "./Mark";

export function Empty({ title, help, children }: { title: string; help?: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Mark size={72} />
      <h2>{title}</h2>
      {help === undefined ? null : <p>{help}</p>}
      {children}
    </div>
  );
}
