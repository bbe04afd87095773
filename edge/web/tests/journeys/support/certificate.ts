/** A certificate for this machine that no authority vouches for, and a browser that believes it and no other such one. */

import { chromium, type Browser } from "@playwright/test";
import { execFile } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { launchOptions } from "../../../playwright.config";

export class Certificate {
  private constructor(
    readonly folder: string,
    /** PEM files. */
    readonly file: string,
    readonly key: string,
    /** What a browser is told to believe: the SHA-256 of its public key. */
    readonly pin: string,
  ) {}

  static async make(): Promise<Certificate> {
    const folder = await mkdtemp(join(tmpdir(), "panda-certificate."));
    const [file, key] = [join(folder, "certificate.pem"), join(folder, "key.pem")];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    await promisify(execFile)("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", file]);
    const { publicKey } = new X509Certificate(await readFile(file));
    const pin = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
    return new Certificate(folder, file, key, pin);
  }

  /** Its service workers and shared workers believe it, too, which they do not where only a page ignores mistakes. */
  browser(): Promise<Browser> {
    const args = [...launchOptions.args, `--ignore-certificate-errors-spki-list=${this.pin}`];
    return chromium.launch({ ...launchOptions, args });
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
