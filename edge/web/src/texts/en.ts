/** English. Every other catalogue has the same entries; TypeScript insists. */

import type { Role } from "@panda/client";

const plural = new Intl.PluralRules("en");
const one = (count: number, singular: string, others: string) => (plural.select(count) === "one" ? singular : others);

/** Somebody's name within a sentence: of whatever direction it is, it turns nothing around it. */
const own = (name: string) => `\u2068${name}\u2069`;

export const en = {
  name: "Panda",
  tagline: "Talk with people and groups.",
  loading: "Loading …",
  close: "Close",
  cancel: "Cancel",
  back: "Back to chats",
  save: "Save",
  saved: "Saved.",
  more: "Show more",
  optional: "optional",
  you: "You",
  unknownPerson: "Unknown person",
  notYetKnown: "…",

  signIn: {
    title: "Log in",
    username: "Username",
    password: "Password",
    action: "Log in",
    busy: "Logging in …",
    other: "New here?",
    otherAction: "Create an account",
    again: "Log in again",
    againWhy: (name: string) =>
      `Your login has ended. Enter the password of ${name} to go on. Nothing that you typed is lost.`,
    leftBehind:
      "You are logged out, but this browser did not let everything be removed: your chats may still be kept in it. Close its other windows of this page, and remove the data of this site in its settings.",
  },
  providers: {
    title: "Accounts elsewhere",
    help: "With these you log in here, too.",
    logIn: (label: string) => `Log in with ${own(label)}`,
    link: (label: string) => `Link an account of ${own(label)}`,
    unlink: "Unlink",
    unlinkWhich: (label: string) => `Unlink the account of ${own(label)}`,
    lastWayIn: "Nothing else would let you in: link another account first.",
    failed: "That did not work",
    failures: {
      denied: "You did not agree there. Nothing happened.",
      refused: "The answer from there was not accepted. Begin again.",
      unavailable: "There is no answer from there. Try again in a moment.",
      elsewhere: "This login was begun in another window or browser. Begin again here.",
    },
  },
  signUp: {
    title: "Create an account",
    usernameHelp: "3 to 32 letters, digits or . _ - (English letters)",
    email: "Email",
    passwordHelp: "At least 8 characters",
    action: "Create account",
    busy: "Creating …",
    other: "Do you have an account?",
    otherAction: "Log in",
    showPassword: "Show password",
    hidePassword: "Hide password",
  },

  chats: {
    title: "Chats",
    make: "New chat",
    profile: "Profile and settings",
    filter: "Find a chat",
    none: "No chats yet",
    noneHelp: "Start one with somebody whose username you know, or make a group.",
    noMatch: (text: string) => `No chat matches “${text}”.`,
    choose: "Choose a chat",
    chooseHelp: "Your messages appear here. Press ? to see what the keyboard can do.",
    unread: (count: number, exact: boolean) =>
      exact ? `${String(count)} ${one(count, "unread message", "unread messages")}` : `About ${String(count)} unread messages`,
    unreadMany: (most: string) => `${most}+`,
    nameless: "Group without a name",
    noMessages: "No messages yet",
    draft: "Draft:",
    by: (name: string) => `${name}:`,
    sending: "Waiting:",
    failed: "Not sent:",
    opening: "Opening …",
  },

  chat: {
    messages: (name: string) => `Messages in ${name}`,
    members: (count: number) => `${String(count)} ${one(count, "member", "members")}`,
    direct: "Direct chat",
    here: "Here lately",
    showMembers: "Members",
    jump: "Go to a date",
    jumpAction: "Go",
    jumpNothing: "There is nothing on or after this day.",
    jumpHelp: "Shows the first message of that day, or the next one.",
    latest: "Go to the newest messages",
    newBelow: (count: number) => `${String(count)} ${one(count, "new message", "new messages")}`,
    unreadFrom: "New",
    begin: "The beginning of this chat",
    beginHidden: "You see this chat from here on",
    empty: "Nothing has been said here yet",
    emptyHelp: "Write the first message below.",
    gone: "You are not in this chat any more. What you have read stays here until you leave the page.",
    missing: "There is no such chat, or you are not in it.",
    damaged: "This chat cannot be opened now; the operator of the server has to mend it.",
    refused: (text: string) => `This chat cannot be opened: ${text}`,
    loadFailed: "These messages could not be loaded.",
    retryLoad: "Try again",
    typing: (names: string[]) =>
      names.length === 1
        ? `${names[0] ?? ""} is typing …`
        : names.length === 2
          ? `${names[0] ?? ""} and ${names[1] ?? ""} are typing …`
          : "Several people are typing …",
    said: (name: string, text: string) => `${name}: ${text}`,
    bounded: "Only the newest part of this long chat is shown. Go to a date to see an earlier one.",
  },

  compose: {
    placeholder: (name: string) => `Message ${name}`,
    send: "Send",
    readerOnly: "You may read here, not write.",
    tooLong: (over: number, limit: number) =>
      `This is too long by ${over.toLocaleString("en")} bytes. A message has at most ${limit.toLocaleString("en")} bytes; shorten it or send it in parts.`,
    notKept: "What you type cannot be kept in this browser: it is lost if the page closes before it is sent.",
  },

  states: {
    queued: "Waiting for a connection",
    sent: "Sending",
    stored: "Stored",
    failed: "Not sent",
    retry: "Send again",
    discard: "Discard",
    copyBack: "Edit",
  },

  notices: {
    created: (actor: string, name: string) => (name === "" ? `${own(actor)} started this chat` : `${own(actor)} made the group “${own(name)}”`),
    direct: (actor: string) => `${own(actor)} started this chat`,
    added: (actor: string, member: string) => `${own(actor)} added ${own(member)}`,
    joined: (member: string) => `${own(member)} joined`,
    removed: (actor: string, member: string) => `${own(actor)} removed ${own(member)}`,
    left: (member: string) => `${own(member)} left`,
    role: (actor: string, member: string, role: string) => `${own(actor)} made ${own(member)} ${role}`,
    renamed: (actor: string, name: string) => `${own(actor)} renamed the group to “${own(name)}”`,
    erased: "This was removed",
    unknown: "Something that this version of the page does not know. Reload it to see more.",
  },

  roles: { reader: "a reader", member: "a member", admin: "an admin", owner: "an owner" } satisfies Record<Role, string>,
  roleNames: { reader: "Reader", member: "Member", admin: "Admin", owner: "Owner" } satisfies Record<Role, string>,
  roleHelp: {
    reader: "Reads only",
    member: "Reads and writes",
    admin: "Also adds and removes people",
    owner: "May do everything",
  } satisfies Record<Role, string>,

  make: {
    title: "New chat",
    kind: "What kind of chat?",
    direct: "One person",
    directHelp: "A direct chat of you two",
    group: "Group",
    person: "Username",
    people: "People",
    add: "Add",
    remove: (name: string) => `Remove ${name}`,
    name: "Name of the group",
    start: "Start chat",
    create: "Create group",
    busy: "Creating …",
    waiting: "It is created as soon as there is a connection. You can leave this page; it will appear among your chats.",
    needName: "Give the group a name, or add somebody.",
    needPerson: "Enter a username.",
    isYou: "That is you. Enter somebody else’s username.",
    twice: (name: string) => `${name} is in the list already.`,
    nobody: (name: string) => `There is nobody called ${name}. Look at the spelling.`,
    tooMany: (limit: number) => `At most ${String(limit)} people at once. Add others later.`,
    nameTooLong: "This name is too long.",
  },

  members: {
    title: "Members",
    add: "Add somebody",
    addAction: "Add",
    history: "They may read what was said before",
    remove: (name: string) => `Remove ${name} from this chat`,
    removeAction: "Remove",
    removeAsk: (name: string) => `Remove ${name}? They will not see what is said from then on.`,
    roleOf: (name: string) => `Role of ${name}`,
    leave: "Leave this chat",
    leaveAsk: "Leave this chat? You will not see what is said from then on. Somebody in it can add you again.",
    leaveAction: "Leave",
    rename: "Name of the group",
    renameAction: "Rename",
    offline: "The list of members needs a connection.",
    directHelp: "A direct chat always has these two people.",
    already: (name: string) => `${name} is a member already.`,
    done: "Done.",
  },

  profile: {
    title: "Profile and settings",
    about: "You",
    pictureElsewhere: "Use a picture from another address",
    picture: "Address of a picture",
    pictureHelp: "An https address, in place of a picture that you send. It is shown to those who load pictures of other addresses.",
    pictureForm: "This has to begin with https:// and have at most 2,048 bytes.",
    look: "Appearance",
    theme: "Colours",
    themes: { system: "As the device", light: "Light", dark: "Dark" },
    language: "Language",
    languages: { system: "As the browser", en: "English", ar: "العربية" },
    pictures: "Load pictures from other addresses",
    picturesHelp:
      "Some people use a picture from an address elsewhere. Whoever runs that address learns when you look and from where. Without them you see initials. Pictures that people sent to this server are always shown.",
    keyboard: "Keyboard",
    signOut: "Log out",
    signOutHelp: "Removes your chats, drafts and messages from this browser.",
    signOutAsk: (unsent: number, drafts: number) =>
      unsent + drafts === 0
        ? "Log out? Everything that is kept in this browser is removed."
        : `Log out? ${[
            unsent > 0 ? `${String(unsent)} ${one(unsent, "message was", "messages were")} not sent yet` : "",
            drafts > 0 ? `${String(drafts)} ${one(drafts, "draft is", "drafts are")} unfinished` : "",
          ]
            .filter((part) => part !== "")
            .join(" and ")}; logging out removes them for good.`,
    changed: "Somebody changed your profile meanwhile. Look at it again.",
  },

  picture: {
    choose: "Choose a picture",
    change: "Change picture",
    remove: "Remove picture",
    removeAsk: "Remove your picture? Others see the first letter of your name again.",
    removeAction: "Remove",
    removed: "Your picture is removed.",
    help: "JPEG, PNG or WebP, at most 8 MB. Nothing of the file but the picture itself is kept, so no place and no camera.",
    title: "Your new picture",
    preview: "How your picture will look",
    note: "This part is kept. Everybody who may see your name sees it.",
    use: "Use this picture",
    sending: "Sending …",
    finishing: "Almost done …",
    tooLarge: "This picture is too large: at most 8 MB, 8,192 pixels on a side and 25 million pixels in all. Make it smaller, or choose another one.",
    noPicture: "This file is no picture that can be used. Choose one in JPEG, PNG or WebP.",
    tooMany: "You have sent many pictures just now. Wait a minute and try again.",
    tooSlow: "Sending took too long, and the picture may not have arrived. Make it smaller, or try again over a faster connection.",
    nowhere: "This server keeps no pictures. You can use one from another address.",
  },

  devices: {
    title: "Devices",
    about: "See where you are logged in, and end a login that you do not know or need.",
    show: "Show devices",
    back: "Back to profile",
    help: "Each browser or program in which you logged in and did not log out. Whoever uses one that you end has to enter the password there.",
    unknown: "Device without a name",
    current: "This device",
    since: (when: string) => `Logged in: ${when}`,
    used: (when: string) => `Last used: about ${when}`,
    end: "End login",
    endOne: (name: string) => `End login: ${own(name)}`,
    endAsk: "End this login? Chats close there within a second. Messages that wait there are sent when somebody logs in there again.",
    endOthers: "End all other logins",
    endOthersAsk: (count: number) =>
      `End ${count === 1 ? "the other login" : `all ${String(count)} other logins`}? Only this device stays logged in. Messages that wait elsewhere are sent when somebody logs in there again.`,
    ended: (count: number) => `${String(count)} ${one(count, "login has", "logins have")} been ended.`,
    again: "Try again",
  },

  link: {
    connecting: "Connecting …",
    catchingUp: "Connected. Catching up …",
    waiting: (seconds: number) =>
      `No connection. Trying again in ${String(seconds)} ${one(seconds, "second", "seconds")}.`,
    waitingNow: "No connection. Trying again …",
    kept: "What you write waits until then.",
    tryNow: "Try now",
    lagging: "Many messages are coming in; this page is catching up.",
    replaced: "This browser was logged in once more elsewhere, and that one goes on. Use it here instead?",
    useHere: "Use it here",
    outdated: "This page is out of date, or a part of it did not load. Reload the page.",
    reload: "Reload",
    revoked: "Your login was ended by you on another device, or by the operator. Log in again to go on.",
    originRefused: "The server does not take connections from this address. Its operator can allow it.",
    stopped: (text: string) => `The connection ended and does not come back by itself: ${text}`,
    clockOff: (aheadMs: number) => {
      const minutes = Math.round(Math.abs(aheadMs) / 60_000);
      const hours = Math.round(minutes / 60);
      const off =
        minutes < 120 ? `${String(minutes)} ${one(minutes, "minute", "minutes")}` : `${String(hours)} ${one(hours, "hour", "hours")}`;
      return `The clock of this device is about ${off} ${aheadMs > 0 ? "ahead" : "behind"}. Messages have the server’s time; set the clock so that both agree.`;
    },
    memoryOnly: "This browser keeps nothing for this page (private window, or storage is full or denied). Messages that wait are lost if you close it.",
  },

  keys: {
    title: "Keyboard",
    list: [
      ["Ctrl K", "Find a chat"],
      ["Alt ↑ / Alt ↓", "Previous and next chat"],
      ["Enter", "Send the message"],
      ["Shift Enter", "New line"],
      ["Esc", "Close what is open; back to the list"],
      ["Page Up / Page Down", "Scroll through messages"],
      ["Home / End", "First and newest message, when the messages have the focus"],
      ["?", "This list"],
    ] as [string, string][],
  },

  refusals: {
    offline: "There is no connection now. Try again when it is back.",
    unreachable: "The server cannot be reached. Look at your connection and try again.",
    storage: "This browser cannot keep that now: its storage is full or denied.",
    too_many_waiting: "Too much waits to be sent already. Wait until the connection is back.",
    bad_credentials: "The username or the password is wrong.",
    taken: "This name is taken; choose another.",
    rate_limited: "That was too often. Wait a moment and try again.",
    overloaded: "The server is busy. Wait a moment and try again.",
    unavailable: "The server cannot do this now; nothing happened. Try again.",
    not_found: "That does not exist, or you may not see it.",
    not_member: "You are not in this chat any more.",
    forbidden: "Your role in this chat does not allow that.",
    limit_reached: "A limit is reached: somebody is in as many chats as one may be, or the chat is full.",
    too_large: "That is too long.",
    damaged: "What is stored of this chat is damaged; the operator has to mend it.",
    token_expired: "Your login has ended. Log in again.",
    origin_refused: "The server does not take connections from this address. Its operator can allow it.",
  } as Record<string, string>,

  nowhere: { title: "There is nothing here", help: "This address shows nothing.", action: "To your chats" },
  broken: {
    title: "Something went wrong",
    help: "This page met a mistake of its own. What you typed is kept; reload the page to go on.",
    action: "Reload",
  },
};

export type Texts = typeof en;
