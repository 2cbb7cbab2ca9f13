/**
 * The client against a real server, by the package `ws`. Reads one command a line, prints one answer a line:
 * `wait EXPRESSION` prints it once it is truthy, `eval EXPRESSION` prints what it is now (JSON). In expressions:
 * client, view, map, events, notices, statuses, act.
 */

import { createInterface } from "node:readline";
import WebSocket from "ws";
import { connect } from "../dist/index.js";

// A machine whose clocks are wrong by so much, as some phones' are.
const wrongMs = Number(process.env.CLOCK_WRONG_MS ?? 0);
for (const clock of [performance, Date]) {
  const right = clock.now.bind(clock);
  clock.now = () => right() + wrongMs;
}

/** Where there is no WebSocket to be had. */
class Broken {
  constructor() {
    setTimeout(() => this.onclose({ code: 1006, reason: "" }), 1);
  }
  close() {}
}

const implementation = process.env.WITHOUT_SOCKETS ? Broken : WebSocket;
const client = connect(process.env.SOCKET, { WebSocket: implementation, backoffBaseMs: 50, backoffCapMs: 400 });
const view = client.channel("updates");
const map = client.channel("map", { fields: ["n"] });
const refused = client.channel("secret");
const events = [];
const notices = [];
const statuses = [];
view.onEvent(({ data }) => events.push(data.number));
view.onStatus((change) => statuses.push(change));
client.onNotification(({ message }) => notices.push(message));
const act = (...call) => client.act(...call).then(() => "done", ({ code, message }) => `${code}: ${message}`);

for await (const line of createInterface({ input: process.stdin })) {
  const [, how, expression] = /^(\w+) (.*)$/.exec(line);
  const ask = new Function("client", "view", "map", "refused", "events", "notices", "statuses", "act", `return (${expression});`);
  let value;
  do {
    value = await ask(client, view, map, refused, events, notices, statuses, act);
    if (!value && how === "wait") await new Promise((resolve) => setTimeout(resolve, 5));
  } while (!value && how === "wait");
  console.log(JSON.stringify(value ?? null));
}
client.close();
