/** What this browser is called in the list of one's logins. */

const BROWSERS: readonly (readonly [string, RegExp])[] = [
  ["Edge", /\bEdg(e|A|iOS)?\//],
  ["Opera", /\bOPR\//],
  ["Firefox", /\b(Firefox|FxiOS)\//],
  ["Chrome", /\b(HeadlessChrome|Chrome|CriOS)\//],
  ["Safari", /\bSafari\//],
];

const SYSTEMS: readonly (readonly [string, RegExp])[] = [
  ["iPhone", /\biPhone\b/],
  ["iPad", /\biPad\b/],
  ["Android", /\bAndroid\b/],
  ["Windows", /\bWindows\b/],
  ["macOS", /\bMac OS X\b/],
  ["Linux", /\bLinux\b/],
];

/** Of what a browser says of itself: enough for a person to know it again, such as "Firefox, Linux". */
export function deviceLabel(agent: string): string {
  const named = (names: typeof BROWSERS) => names.find(([, pattern]) => pattern.test(agent))?.[0];
  return [named(BROWSERS) ?? "Browser", named(SYSTEMS)].filter((name) => name !== undefined).join(", ");
}
