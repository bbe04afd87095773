/** Somebody at a browser of their own: what they do, and what they see. */

import { expect, type Browser, type BrowserContext, type BrowserContextOptions, type Locator, type Page } from "@playwright/test";

export const password = "correct horse";

/** What a browser writes to its console when a server is away, which is what some journeys are about. */
const ofLostConnections = /net::ERR_|WebSocket connection|Failed to load resource|ERR_INTERNET|the page cannot be kept/;

export class Person {
  /** What went wrong in their pages: mistakes of scripts, and what the policy of the page kept out. */
  readonly mistakes: string[] = [];

  private constructor(
    readonly name: string,
    readonly url: string,
    readonly context: BrowserContext,
    readonly page: Page,
  ) {}

  static async at(browser: Browser, url: string, name: string, options: BrowserContextOptions = {}): Promise<Person> {
    return Person.in(await browser.newContext(options), url, name);
  }

  /** At a new page of a browser that is theirs already, with its own ways. */
  static async in(context: BrowserContext, url: string, name: string): Promise<Person> {
    const person = new Person(name, url, context, await context.newPage());
    person.watch(person.page);
    return person;
  }

  watch(page: Page): void {
    page.on("pageerror", (error) => this.mistakes.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !ofLostConnections.test(message.text())) this.mistakes.push(message.text());
    });
  }

  async registers(): Promise<this> {
    await this.page.goto(`${this.url}/app/sign-up`);
    await this.page.getByLabel("Username").fill(this.name);
    await this.page.getByLabel("Password", { exact: true }).fill(password);
    await this.page.getByRole("button", { name: "Create account" }).click();
    await expect(this.list).toBeVisible();
    await this.isOnline();
    return this;
  }

  get list(): Locator {
    return this.page.getByRole("navigation", { name: "Chats" });
  }

  get field(): Locator {
    return this.page.locator(".composer textarea");
  }

  get messages(): Locator {
    return this.page.getByRole("feed");
  }

  get panel(): Locator {
    return this.page.getByRole("region", { name: "Members" });
  }

  /** One's own messages that wait, were refused, or are on their way. */
  waiting(state: "queued" | "sent" | "failed"): Locator {
    return this.messages.locator(`.message-state-${state}`);
  }

  async isOnline(): Promise<void> {
    await expect(this.page.locator(".bar-warning")).toHaveCount(0);
  }

  async makesGroup(name: string, ...others: string[]): Promise<void> {
    await this.page.getByRole("button", { name: "New chat" }).click();
    await this.page.getByRole("radio", { name: "Group" }).check();
    await this.page.getByLabel("Name of the group").fill(name);
    for (const other of others) {
      await this.page.getByLabel("People").first().fill(other);
      await this.page.getByRole("button", { name: "Add", exact: true }).click();
      await expect(this.page.getByRole("button", { name: `Remove ${other}` })).toBeVisible();
    }
    await this.page.getByRole("button", { name: "Create group" }).click();
    await expect(this.page.getByRole("heading", { level: 1, name })).toBeVisible();
  }

  /** `typed`: as they write the other's name. */
  async startsChatWith(other: string, typed = other): Promise<void> {
    await this.page.getByRole("button", { name: "New chat" }).click();
    await this.page.getByLabel("Username").fill(typed);
    await this.page.getByRole("button", { name: "Start chat" }).click();
    await expect(this.page.getByRole("heading", { level: 1, name: other })).toBeVisible();
  }

  async opens(title: string): Promise<void> {
    await this.list.locator("a.chat-row", { has: this.page.getByText(title, { exact: true }) }).click();
    await expect(this.page.getByRole("heading", { level: 1, name: title })).toBeVisible();
  }

  async types(text: string): Promise<void> {
    await this.field.fill(text);
  }

  async says(text: string): Promise<void> {
    await this.types(text);
    await this.field.press("Enter");
    await expect(this.field).toHaveValue("");
  }

  /** A message is there exactly once. */
  async sees(text: string): Promise<void> {
    await expect(this.messages.getByText(text, { exact: true })).toHaveCount(1);
  }

  /** Names in it are set apart from the sentence around them, by characters that nobody sees. */
  async seesNotice(text: string): Promise<void> {
    const words = text.split(" ").map((word) => `\u2068?${word.replaceAll(/\W/g, "\\$&")}\u2069?`);
    await expect(this.messages.locator(".notice", { hasText: new RegExp(words.join(" ")) }).last()).toBeVisible();
  }

  /** The texts of all messages that are on the screen, from above. */
  async texts(): Promise<string[]> {
    return this.messages.locator(".message-text").allTextContents();
  }
}
