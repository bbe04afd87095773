/** Names and pictures of people, by their ID. */

import type { UserId } from "@panda/client";
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import { forgotten } from "./world";

export interface Person {
  readonly username: string;
  readonly picture: string | null;
  readonly version: number;
}

/** `null`: nobody has this ID. Absent: not asked yet. */
export type People = Record<UserId, Person | null>;

const nobody: People = {};

const slice = createSlice({
  name: "people",
  initialState: nobody,
  reducers: {
    met(people, { payload }: PayloadAction<People>) {
      for (const [id, person] of Object.entries(payload) as [UserId, Person | null][]) {
        const known = people[id];
        // An answer that was under way may be older than what is known.
        if (known && person && known.version > person.version) continue;
        people[id] = person;
      }
    },
  },
  extraReducers: (builder) => {
    builder.addCase(forgotten, () => ({}));
  },
});

export const { met } = slice.actions;
export const peopleReducer = slice.reducer;
