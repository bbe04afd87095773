/** {@link VirtualRows} for a component. */

import { useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore } from "react";
import { VirtualRows } from "./virtual_rows";

export interface VirtualRowsOptions {
  readonly count: number;
  /** Pixels of a row that was not measured. */
  readonly estimate: number;
  readonly start: { readonly row: number; readonly top: number } | "end";
}

export function useVirtualRows({ count, estimate, start }: VirtualRowsOptions) {
  const [rows] = useState(() => new VirtualRows(estimate, count, start));
  const scroller = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const block = useRef<HTMLDivElement>(null);
  const drawn = useSyncExternalStore(rows.subscribe, rows.drawn);
  useLayoutEffect(() => {
    if (!scroller.current || !spacer.current || !block.current) return;
    return rows.attach(scroller.current, spacer.current, block.current);
  }, [rows]);
  useLayoutEffect(() => rows.resize(count), [rows, count]);
  useLayoutEffect(() => rows.measure());
  useEffect(() => {
    // Letters of a font that comes later have other widths.
    void document.fonts.ready.then(() => rows.measure());
  }, [rows]);
  return { rows, drawn, scroller, spacer, block };
}
