import all from "./playwright.config";

/** Three people at the edges of a cluster, which `ops/journeys/cluster-browsers` starts and whose edges it lets be killed. */
export default { ...all, testDir: "tests/cluster", timeout: 240_000, workers: 1 };
