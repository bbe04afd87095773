/** Our own signs, drawn on a grid of 24 with one stroke; they say nothing to a screen reader, their buttons do. */

const paths = {
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  send: "M5 12l14-7-5 14-3-6-6-1z",
  down: "M12 5v14M6 13l6 6 6-6",
  search: "M10.5 17a6.5 6.5 0 100-13 6.5 6.5 0 000 13zM15.5 15.500L20 20",
  people: "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM3 20c0-3.3 2.7-5.5 6-5.500s6 2.2 6 5.500M16 4.500a3.3 3.3 0 010 6.200M17.5 14.800c2.1.7 3.5 2.5 3.5 5.2",
  person: "M12 11.500a4 4 0 100-8 4 4 0 000 8zM5 20.500c0-3.7 3.1-6 7-6s7 2.3 7 6",
  calendar: "M5 6.500h14v13H5zM5 10.500h14M9 4v4M15 4v4",
  clock: "M12 20a8 8 0 100-16 8 8 0 000 16zM12 8v4l2.5 2",
  check: "M5 12.500l4.5 4.500L19 7.5",
  warning: "M12 4l9 16H3zM12 10v4.500M12 17.200v.1",
  settings:
    "M12 15a3 3 0 100-6 3 3 0 000 6zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.600l2.1 2.100M16.3 16.300l2.1 2.100M5.6 18.400l2.1-2.100M16.3 7.700l2.1-2.1",
  offline: "M4 4l16 16M8.5 15.500a5 5 0 016.6-.400M5.3 12.200a9.5 9.5 0 014.2-2.400M14.5 9.900a9.5 9.5 0 014.2 2.300M12 19.100v.1",
  leave: "M14 5H6v14h8M11 12h9M17 8.500l3.5 3.5-3.5 3.5",
  eye: "M3 12c2.2-4 5.3-6 9-6s6.8 2 9 6c-2.2 4-5.3 6-9 6s-6.8-2-9-6zM12 14.500a2.5 2.5 0 100-5 2.5 2.5 0 000 5z",
} as const;

export type IconName = keyof typeof paths;

/** Those that point the way of reading turn around with it. */
const pointing = new Set<IconName>(["back", "send", "leave"]);

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg
      className={pointing.has(name) ? "icon icon-pointing" : "icon"}
      width={size}
      height={size}
      viewBox="0 0 24 24"
      aria-hidden="true"
      focusable="false"
    >
      <path d={paths[name]} />
    </svg>
  );
}
