/** Registers a user, says hello in a chat of its own, and prints what comes. Arguments: the server's URL and a username. */

import { WebSocket } from "ws";
import { createClient, createHttpApi } from "../dist/client.js";

const [url = "http://127.0.0.1:8080", username = `ada_${Date.now()}`] = process.argv.slice(2);
const account = await createHttpApi({ url }).register({ username, password: "a long password" });
const client = createClient({
  url,
  user: account.user.id,
  token: async () => account.accessToken,
  webSocket: WebSocket,
});

client.subscribe((events) => {
  for (const event of events) {
    if (event.type === "connection") console.log(`connection: ${event.connection.state}`);
    if (event.type !== "events") continue;
    for (const { seq, kind, text } of event.events) console.log(`${seq} ${kind} ${text ?? ""}`);
  }
});

const { entity: chat } = await client.createGroup("tea", []).done;
const { seq } = await client.send(chat, "hello").done;
console.log(`stored as ${seq}`);
setTimeout(() => client.close(), 200);
