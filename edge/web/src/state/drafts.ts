/** What was typed and not sent yet, by chat. */

import type { ChatId } from "@panda/client";
import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import { forgotten } from "./world";

export type Drafts = Record<ChatId, string>;

const none: Drafts = {};

const slice = createSlice({
  name: "drafts",
  initialState: none,
  reducers: {
    draftsRead: (_, { payload }: PayloadAction<Drafts>) => payload,
    drafted(drafts, { payload: { chat, text } }: PayloadAction<{ chat: ChatId; text: string }>) {
      if (text !== "") return { ...drafts, [chat]: text };
      return Object.fromEntries(Object.entries(drafts).filter(([other]) => other !== chat));
    },
  },
  extraReducers: (builder) => {
    builder.addCase(forgotten, () => ({}));
  },
});

export const { draftsRead, drafted } = slice.actions;
export const draftsReducer = slice.reducer;
