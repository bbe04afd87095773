/** Where it begins: the store, who is logged in, and the page around both. */

import { createClient, createHttpApi } from "@panda/client";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { Accounts } from "./account/accounts";
import { deviceLabel } from "./account/device_label";
import "./look/index.css";
import { App } from "./shell/App";
import { Broken } from "./shell/Broken";
import { AccountsContext } from "./shell/services";
import { applyTheme } from "./shell/settings";
import { makeStore } from "./state/store";
import { LocaleProvider } from "./texts/locale";

applyTheme();
const store = makeStore();
const accounts = new Accounts({
  store,
  open: createClient,
  api: (token) => createHttpApi({ url: location.origin, token, label: deviceLabel(navigator.userAgent) }),
  url: location.origin,
  worker: () => new SharedWorker(new URL("./panda.worker.ts", import.meta.url), { type: "module", name: "panda" }),
});

const root = document.getElementById("root");
if (!root) throw new Error("the page has no element `root`");
createRoot(root).render(
  <Provider store={store}>
    <LocaleProvider>
      <Broken>
        <AccountsContext value={accounts}>
          <App />
        </AccountsContext>
      </Broken>
    </LocaleProvider>
  </Provider>,
);

// Over plain HTTP from another machine there is no such thing; the page works without.
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js").catch((error: unknown) => console.warn("the page cannot be kept:", error));
}
