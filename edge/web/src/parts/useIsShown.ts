/** Whether a component is on the screen still, for what takes a while and then acts upon who looks at it. */

import { useCallback, useEffect, useRef } from "react";

export function useIsShown(): () => boolean {
  const isShown = useRef(false);
  useEffect(() => {
    isShown.current = true;
    return () => {
      isShown.current = false;
    };
  }, []);
  return useCallback(() => isShown.current, []);
}
