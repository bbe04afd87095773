/** Names and pictures of people, by their ID. */

import type { UserId } from "@panda/client";
import { createAction, type UnknownAction } from "@reduxjs/toolkit";
import { forgotten } from "./world";

export interface Person {
  readonly username: string;
  readonly picture: string | null;
  readonly version: number;
}

/** `null`: nobody has this ID. Absent: not asked yet. */
export type People = Record<UserId, Person | null>;

const nobody: People = {};

export const met = createAction<People>("people/met");

/** Plain, as `world.ts` is: a page that was open for long knows thousands of people, and learns of them one by one. */
export function peopleReducer(people: People = nobody, action: UnknownAction): People {
  if (forgotten.match(action)) return nobody;
  if (!met.match(action)) return people;
  // An answer that was under way may be older than what is known; one of the same version says the same.
  const news = (Object.entries(action.payload) as [UserId, Person | null][]).filter(([id, person]) => {
    const known = people[id];
    return known && person ? known.version < person.version : known !== person;
  });
  return news.length === 0 ? people : { ...people, ...Object.fromEntries(news) };
}
