/** Which of many rows of one height are on the screen. */

import { useEffect, useState, type RefObject } from "react";

/** Rows that are drawn beyond each edge. */
const SPARE = 6;

export function useWindow(scroller: RefObject<HTMLElement | null>, count: number, rowPx: number): { from: number; to: number } {
  const [place, setPlace] = useState({ from: 0, to: 30 });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const look = () => {
      const from = Math.max(0, Math.floor(element.scrollTop / rowPx) - SPARE);
      const to = Math.ceil((element.scrollTop + element.clientHeight) / rowPx) + SPARE;
      setPlace((before) => (before.from === from && before.to === to ? before : { from, to }));
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      observer.disconnect();
    };
  }, [scroller, rowPx]);
  return { from: Math.min(place.from, Math.max(0, count - 1)), to: Math.min(place.to, count - 1) };
}
