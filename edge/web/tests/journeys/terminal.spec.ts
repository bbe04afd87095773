import { spawn, type ChildProcess } from "node:child_process";
import { expect, test } from "./support/journey";
import { binary } from "./support/server";

/** Somebody at a terminal, whose client takes QUIC and nothing else where it is not told to. */
class Terminal {
  readonly name: string;
  readonly #process: ChildProcess;
  #told = "";

  constructor(server: string, name: string) {
    this.name = name;
    this.#process = spawn(binary, ["chat", "--plain", "--server", server, "--register", "--user", name], {
      env: { ...process.env, PANDA_PASSWORD: `correct horse ${name}` },
      stdio: ["pipe", "pipe", "pipe"],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => (this.#told += text));
    }
  }

  types(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  async sees(text: string): Promise<void> {
    await expect.poll(() => this.#told, { message: `${this.name} sees "${text}"`, timeout: 20_000 }).toContain(text);
  }

  /** With its exit status. */
  async quits(): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => this.#process.once("exit", resolve));
    this.types("/quit");
    return ended;
  }

  remove(): void {
    this.#process.kill("SIGKILL");
  }
}

test("somebody in a browser and somebody at a terminal talk, one over WebSocket and one over QUIC", async ({
  person,
  server,
}) => {
  const ada = await (await person("ada")).registers();
  const ben = new Terminal(server.url, `ben-at-${ada.name}`);
  try {
    await ben.sees(`connected as ${ben.name}`);
    await ada.makesGroup("tea", ben.name);
    await ben.sees("you are in tea");
    await ada.says("milk or lemon?");
    await ben.sees(`[tea] ${ada.name}: milk or lemon?`);
    ben.types("/open tea");
    ben.types("lemon, שלום, 🍋");
    await ada.sees("lemon, שלום, 🍋");
    ben.types("and a second line");
    await ada.sees("and a second line");
    await ada.says("done");
    await ben.sees(`[tea] ${ada.name}: done`);
    expect(await ada.texts()).toEqual(["milk or lemon?", "lemon, שלום, 🍋", "and a second line", "done"]);
    expect(await ben.quits(), "the terminal ends in order").toBe(0);
  } finally {
    ben.remove();
  }
});
