/** Finds somebody by the exact username: there is no list of all people to choose from. */

import { RefusedError, type Profile } from "@panda/client";
import { useState, type KeyboardEvent } from "react";
import { Button } from "../parts/Button";
import { Field } from "../parts/Field";
import { refusalOf, useAccounts, useSession } from "../shell/services";
import { useLocale } from "../texts/locale";

export interface PersonPickerProps {
  readonly label: string;
  readonly action: string;
  /** What is wrong with somebody who was found, or `null`. */
  readonly refuse: (profile: Profile) => string | null;
  readonly onFound: (profile: Profile) => void;
  readonly autoFocus?: boolean;
}

/** A username as somebody may write it: with the sign before it, and blanks around. */
export const plainName = (text: string): string => text.trim().replace(/^@/u, "");

/** Looks somebody up; what is wrong comes as a text. */
export function useLookUp(): (name: string) => Promise<Profile | string> {
  const { http } = useAccounts();
  const { directory } = useSession();
  const { t, refusal: say } = useLocale();
  return async (name) => {
    if (name === "") return t.make.needPerson;
    try {
      const profile = await http.user(`@${name}`);
      directory.learn(profile);
      return profile;
    } catch (error) {
      const isNobody = error instanceof RefusedError && ["not_found", "invalid_request"].includes(error.refusal.label);
      return isNobody ? t.make.nobody(name) : say(refusalOf(error));
    }
  };
}

export function PersonPicker({ label, action, refuse, onFound, autoFocus = false }: PersonPickerProps) {
  const lookUp = useLookUp();
  const [text, setText] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setIsBusy] = useState(false);
  const find = async () => {
    if (isBusy) return;
    setIsBusy(true);
    const found = await lookUp(plainName(text));
    const wrong = typeof found === "string" ? found : refuse(found);
    setError(wrong);
    setIsBusy(false);
    if (wrong !== null || typeof found === "string") return;
    setText("");
    onFound(found);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key !== "Enter") return;
    // The form around this is another question.
    event.preventDefault();
    void find();
  };
  return (
    <Field
      label={label}
      value={text}
      autoFocus={autoFocus}
      autoCapitalize="none"
      autoComplete="off"
      spellCheck={false}
      maxLength={33}
      dir="ltr"
      error={error}
      onChange={(event) => setText(event.target.value)}
      onKeyDown={press}
      beside={
        <Button onClick={() => void find()} aria-disabled={isBusy}>
          {action}
        </Button>
      }
    />
  );
}
