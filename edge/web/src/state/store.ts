/** The one store of a tab. */

import { combineReducers, configureStore } from "@reduxjs/toolkit";
import { useDispatch, useSelector } from "react-redux";
import { draftsReducer } from "./drafts";
import { linkReducer } from "./link";
import { peopleReducer } from "./people";
import { signalsReducer } from "./signals";
import { worldReducer } from "./world";

const reducer = combineReducers({
  world: worldReducer,
  link: linkReducer,
  signals: signalsReducer,
  people: peopleReducer,
  drafts: draftsReducer,
});

export type State = ReturnType<typeof reducer>;

export function makeStore() {
  return configureStore({
    reducer,
    // The checks walk through the whole state for every action, which at hundreds of events a second is all that is done.
    middleware: (defaults) => defaults({ serializableCheck: false, immutableCheck: false, actionCreatorCheck: false }),
  });
}

export type Store = ReturnType<typeof makeStore>;
export type Dispatch = Store["dispatch"];
export const useAppDispatch = useDispatch.withTypes<Dispatch>();
export const useAppSelector = useSelector.withTypes<State>();
