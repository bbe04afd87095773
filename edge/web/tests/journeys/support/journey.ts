/** What a journey begins with: a server, people, and the promise that nothing went wrong in their pages. */

import { expect, test as base, type BrowserContextOptions } from "@playwright/test";
import { Person } from "./person";
import { Server } from "./server";

interface Journey {
  /** Somebody who is at a page of the server; the name is made unlike all others of this run. */
  readonly person: (name: string, options?: BrowserContextOptions) => Promise<Person>;
}

let people = 0;

export const test = base.extend<Journey, { server: Server }>({
  server: [
    // eslint-disable-next-line no-empty-pattern -- Playwright reads the pattern
    async ({}, use) => {
      const server = await Server.start();
      await use(server);
      await server.remove();
    },
    { scope: "worker" },
  ],
  person: async ({ browser, server }, use) => {
    const all: Person[] = [];
    await use(async (name, options) => {
      people += 1;
      const person = await Person.at(browser, server.url, `${name}${String(people)}`, options);
      all.push(person);
      return person;
    });
    for (const person of all) {
      expect(person.mistakes, `nothing goes wrong in the page of ${person.name}`).toEqual([]);
      await person.context.close();
    }
  },
});

export { expect };
