/** What is shown where: the doors for who is not logged in, and for who is, the list of chats and what was chosen. */

import { useEffect, useRef, useState } from "react";
import { Devices } from "../account/Devices";
import { ProviderReturn } from "../account/providers/ProviderReturn";
import { SignIn } from "../account/SignIn";
import { ChatList } from "../chats/ChatList";
import { NewChat } from "../chats/NewChat";
import { Conversation } from "../conversation/Conversation";
import { Empty } from "../parts/Empty";
import { Profile } from "../profile/Profile";
import { useLocale } from "../texts/locale";
import { ConnectionBar } from "./ConnectionBar";
import { Keys } from "./Keys";
import { Link } from "./Link";
import { go, useRoute, type Route } from "./router";
import { SessionContext, useCurrentSession } from "./services";
import { useShortcuts } from "./useShortcuts";

export function App() {
  const session = useCurrentSession();
  const route = useRoute();
  const { t } = useLocale();
  const isDoor = route.screen === "signIn" || route.screen === "signUp";
  useEffect(() => {
    if (session && isDoor) go({ screen: "chats" }, "replace");
  }, [session, isDoor]);
  useEffect(() => {
    if (route.screen !== "chat") document.title = t.name;
  }, [route.screen, t]);
  const shown = session ? (
    <SessionContext value={session} key={session.account.user.id}>
      <Inside route={route} />
    </SessionContext>
  ) : (
    <SignIn key={route.screen} isNew={route.screen === "signUp"} />
  );
  return (
    <>
      {shown}
      <ProviderReturn />
    </>
  );
}

function Inside({ route }: { route: Route }) {
  const filterField = useRef<HTMLInputElement>(null);
  const [isHelp, setIsHelp] = useState(false);
  useShortcuts(route, filterField, () => setIsHelp(true));
  return (
    <div className={`app screen-${route.screen}`}>
      <ConnectionBar />
      <div className="app-panes">
        <ChatList open={route.screen === "chat" ? route.chat : null} filterField={filterField} />
        <Main route={route} />
      </div>
      {isHelp ? <Keys onClose={() => setIsHelp(false)} /> : null}
    </div>
  );
}

function Main({ route }: { route: Route }) {
  const { t } = useLocale();
  switch (route.screen) {
    case "chat":
      return (
        <main className="pane pane-chat">
          <Conversation key={route.chat} chat={route.chat} panel={route.panel} />
        </main>
      );
    case "new":
      return <NewChat />;
    case "profile":
      return <Profile />;
    case "devices":
      return <Devices />;
    case "nowhere":
      return (
        <main className="pane pane-empty">
          <Empty title={t.nowhere.title} help={t.nowhere.help}>
            <Link to={{ screen: "chats" }} className="button button-main">
              {t.nowhere.action}
            </Link>
          </Empty>
        </main>
      );
    case "chats":
    case "signIn":
    case "signUp":
      return (
        <main className="pane pane-empty">
          <Empty title={t.chats.choose} help={t.chats.chooseHelp} />
        </main>
      );
  }
}
