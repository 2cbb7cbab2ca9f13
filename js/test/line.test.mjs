import assert from "node:assert/strict";
import test from "node:test";
import { CLOSE_CODES } from "../dist/close-codes.js";
import { ServerClock } from "../dist/serverclock.js";
import { socketUrl, webSocketTransport } from "../dist/transport.js";
import { settled, staged } from "./stage.mjs";

test("a line is open when the server has greeted", () => {
  const { client, line } = staged();
  assert.equal(client.status.state, "connecting");
  line.greet();
  assert.equal(client.status.state, "open");
  assert.equal(line.all("ping").length, 1);
});

test("pauses are random all the way, and their ceiling doubles up to a limit", async () => {
  const stage = staged({ backoffBaseMs: 100, backoffCapMs: 1000 });
  const pauses = [];
  for (let attempt = 0; attempt < 6; attempt++) {
    stage.around.dice = attempt === 1 ? 0 : 0.5;
    stage.line.drop();
    assert.equal(stage.client.status.state, "waiting");
    pauses.push(stage.client.status.retryInMs);
    await stage.around.pass(stage.client.status.retryInMs);
    assert.equal(stage.client.status.state, "connecting");
  }
  assert.deepEqual(pauses, [50, 0, 200, 400, 500, 500]);
  assert.equal(stage.lines.length, 7);
});

test("a line that held begins the pauses anew, one that broke at once does not", async () => {
  const stage = staged({ backoffBaseMs: 100 });
  const broken = async (heldMs) => {
    stage.line.greet();
    await stage.around.pass(heldMs);
    stage.line.drop();
    const { retryInMs } = stage.client.status;
    await stage.around.pass(retryInMs);
    return retryInMs;
  };
  assert.deepEqual([await broken(10), await broken(10), await broken(5000), await broken(10)], [50, 100, 50, 100]);
});

test("where the server says so, it does not come back before it is asked to", async () => {
  for (const [code, { reconnect }] of CLOSE_CODES) {
    const stage = staged();
    stage.line.greet();
    stage.line.drop(code, "because");
    assert.equal(stage.client.status.state, reconnect ? "waiting" : "closed", String(code));
    assert.equal(stage.client.status.code, code);
    if (reconnect) continue;
    stage.around.tell("wake");
    await stage.around.pass(100_000);
    assert.equal(stage.lines.length, 1);
    stage.client.reconnect();
    assert.equal(stage.lines.length, 2);
    stage.line.greet();
    assert.equal(stage.client.status.state, "open");
  }
});

test("a line on which nothing comes any more is given up", async () => {
  const stage = staged({ pingEveryMs: 1000, answerWithinMs: 400 });
  stage.line.greet();
  stage.around.time += 1;
  stage.line.say({ type: "pong", timestamp: 1000, server_time: 5000 });
  await stage.around.pass(999);
  assert.equal(stage.line.all("ping").length, 2);
  await stage.around.pass(399);
  assert.equal(stage.client.status.state, "open");
  const first = stage.line;
  await stage.around.pass(2);
  assert.equal(stage.client.status.state, "waiting");
  assert.ok(first.isClosed);
  first.greet(); // whatever it says now is not heard
  assert.equal(stage.client.status.state, "waiting");
});

test("any frame is a sign of life", async () => {
  const stage = staged({ pingEveryMs: 1000, answerWithinMs: 400 });
  stage.line.greet();
  for (let beat = 0; beat < 5; beat++) {
    await stage.around.pass(300);
    stage.line.say({ type: "news of a later server" });
    await stage.around.pass(700);
  }
  assert.equal(stage.client.status.state, "open");
  assert.equal(stage.line.all("ping").length, 6);
});

test("a server that takes the line and never greets is given up", async () => {
  const stage = staged({ answerWithinMs: 400 });
  await stage.around.pass(401);
  assert.equal(stage.client.status.state, "waiting");
});

test("the network's or the page's return ends a wait, and looks after an open line", async () => {
  const stage = staged({ answerWithinMs: 400 });
  stage.line.drop();
  stage.around.tell("wake");
  assert.equal(stage.lines.length, 2);
  stage.around.tell("wake"); // is connecting: nothing to do
  assert.equal(stage.lines.length, 2);
  stage.line.greet();
  await stage.around.pass(10);
  stage.around.tell("wake");
  assert.equal(stage.line.all("ping").length, 2);
  await stage.around.pass(401);
  assert.equal(stage.client.status.state, "waiting");
});

test("what can't be read or understood costs the line and no more", async () => {
  for (const text of ["no json", "[1]", "null", '{"type":"subscription_confirmed"}', '{"type":"sync","channel":"villa","reset":true,"agents":{"a":null}}']) {
    const stage = staged();
    stage.client.channel("villa");
    stage.line.greet();
    await settled();
    if (text.includes("sync")) stage.line.confirm("villa"); // what comes before is of before
    stage.line.say(text);
    assert.equal(stage.client.status.state, "waiting", text);
    await stage.around.pass(stage.client.status.retryInMs);
    stage.line.greet();
    assert.equal(stage.client.status.state, "open");
  }
});

test("a closed client opens nothing, says nothing and leaves no timer", async () => {
  const stage = staged();
  stage.line.greet();
  stage.client.close();
  assert.ok(stage.line.isClosed);
  assert.equal(stage.client.status.state, "closed");
  stage.client.reconnect();
  stage.around.tell("wake");
  assert.equal(stage.around.calls.size, 0);
  assert.deepEqual(stage.around.timers, []);
  assert.equal(stage.lines.length, 1);
  assert.throws(() => stage.client.channel("villa"), /closed/);
});

test("listeners that throw are reported and harm nobody", () => {
  const stage = staged();
  const told = [];
  stage.client.onStatus(() => {
    throw new Error("mine");
  });
  const off = stage.client.onStatus(({ state }) => told.push(state));
  stage.line.greet();
  off();
  stage.line.drop();
  assert.deepEqual(told, ["open"]);
  assert.equal(stage.around.errors.length, 2);
});

test("the server's clock is what the quickest pong says, and never behind what was heard", () => {
  const clock = new ServerClock();
  assert.equal(clock.at(0), null);
  clock.heard(100, 50);
  assert.equal(clock.at(100), 50);
  clock.pong(0, 1000, 51.2); // a slow one: the middle of its way is a guess of half a second
  clock.pong(1000, 1020, 51.5);
  assert.equal(clock.at(1010), 51.5);
  clock.heard(1010, 51.6); // a frame can't have been made after it came
  assert.equal(clock.at(1010), 51.6);
  clock.heard(11_010, 40);
  assert.ok(clock.at(11_010) < 61.6, "two clocks drift");
  clock.reset();
  assert.equal(clock.at(0), null);
});

test("a path is an address of this site's socket", () => {
  globalThis.location = { href: "https://villa.example/show/?day=1" };
  try {
    assert.equal(socketUrl("/ws/updates/"), "wss://villa.example/ws/updates/");
    assert.equal(socketUrl("http://other.example/ws/"), "ws://other.example/ws/");
    assert.equal(socketUrl("wss://other.example/ws/"), "wss://other.example/ws/");
  } finally {
    delete globalThis.location;
  }
});

test("the WebSocket transport: text in, text out, silence after its close, and no throw for a wrong address", async () => {
  const made = [];
  class Fake {
    constructor(url, protocol) {
      if (url === "wrong") throw new SyntaxError("wrong");
      Object.assign(this, { url, protocol, sent: [], readyState: 1 });
      made.push(this);
    }
    send(text) {
      this.sent.push(text);
    }
    close(code) {
      this.code = code;
    }
  }
  const heard = [];
  const handlers = { message: (text) => heard.push(text), closed: (code) => heard.push(code) };
  const line = webSocketTransport("ws://x/", Fake).open(handlers);
  const [socket] = made;
  assert.equal(socket.protocol, "update-pipeline.sync.v1");
  line.send("a");
  socket.onmessage({ data: "b" });
  socket.onmessage({ data: new ArrayBuffer(1) });
  socket.readyState = 2; // the server's close has come, and nobody was told yet
  line.send("to nobody");
  assert.deepEqual([socket.sent, heard], [["a"], ["b"]]);
  line.close();
  socket.onmessage({ data: "c" });
  socket.onclose({ code: 1006, reason: "" });
  assert.deepEqual([socket.code, heard], [1000, ["b"]]);
  const other = webSocketTransport("ws://x/", Fake).open(handlers);
  made[1].onclose({ code: 4010, reason: "" });
  assert.deepEqual(heard, ["b", 4010]);
  webSocketTransport("wrong", Fake).open(handlers);
  assert.equal(heard.length, 2);
  await settled();
  assert.deepEqual(heard, ["b", 4010, 1006]);
  assert.ok(other);
});
