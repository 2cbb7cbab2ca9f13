import assert from "node:assert/strict";
import test from "node:test";
import { ActionError } from "../dist/errors.js";
import { Drawer, settled, snapshot, staged, sync } from "./stage.mjs";

/** A client with `villa` open and live at offset 10. */
async function live(options = {}) {
  const stage = staged(options);
  const view = stage.client.channel("villa");
  stage.line.greet();
  await settled();
  stage.line.confirm("villa");
  stage.line.say(snapshot(10, { a: { mood: "calm" }, b: { mood: "calm" } }));
  return { ...stage, view, stage };
}

test("one frame asks for all that is wanted, when the line is open", async () => {
  const stage = staged();
  stage.client.channel("villa");
  stage.client.channel("map", { fields: ["y", "x"] });
  await settled();
  assert.equal(stage.line.sent.length, 0);
  stage.line.greet();
  await settled();
  assert.deepEqual(stage.line.all("subscribe"), [{ channels: ["villa", "map"], since: {}, fields: { map: ["y", "x"] } }]);
  stage.client.channel("news");
  stage.client.channel("more");
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[1].channels, ["news", "more"]);
});

test("many channels are asked for in several frames", async () => {
  const stage = staged();
  for (let count = 0; count < 120; count++) stage.client.channel(`c${count}`);
  stage.line.greet();
  await settled();
  assert.deepEqual(stage.line.all("subscribe").map(({ channels }) => channels.length), [50, 50, 20]);
});

test("a view is loading, live, stale without a line, and live again with what changed", async () => {
  const { view, stage } = await live();
  assert.equal(view.status, "live");
  const told = [];
  view.onStatus(({ status, catchUp }) => told.push([status, catchUp]));
  stage.line.drop();
  assert.equal(view.status, "stale");
  assert.equal(view.get("a").mood, "calm");
  await stage.around.pass(1000);
  stage.line.greet();
  assert.equal(view.status, "stale");
  assert.deepEqual(stage.line.all("subscribe"), [
    { channels: ["villa"], since: { villa: { epoch: "e", offset: 10, view: "" } }, fields: {} },
  ]);
  stage.line.confirm("villa");
  const part = { agents: { a: { set: { mood: "happy", at: 1 }, unset: ["x"], at: 4999 } } };
  stage.line.say(sync({ from: 10, to: 10, more: true, ...part }), sync({ from: 10, to: 12 }));
  assert.equal(view.status, "live");
  assert.equal(view.get("a").mood, "happy");
  assert.deepEqual(told.map(([status]) => status), ["stale", "live"]);
  const { bytes, ...catchUp } = told[1][1];
  assert.ok(bytes > 100);
  assert.deepEqual(catchUp, { frames: 2, agents: 1, fields: 3, events: 0, isReset: false });
});

test("a view is loading until its first snapshot is complete", async () => {
  const stage = staged();
  const view = stage.client.channel("villa");
  stage.line.greet();
  stage.line.confirm("villa");
  stage.line.say(snapshot(0, { a: {} }, { more: true }));
  assert.equal(view.status, "loading");
  assert.equal(view.agents.size, 1, "what came is shown");
  stage.line.drop();
  assert.equal(view.status, "loading");
  await stage.around.pass(1000);
  stage.line.greet();
  assert.deepEqual(stage.line.all("subscribe")[0].since, {});
  stage.line.confirm("villa");
  stage.line.say(snapshot(5, { b: {} }));
  assert.deepEqual([...view.agents.keys()], ["b"]);
  assert.equal(view.status, "live");
});

test("a live view that falls behind is stale until the last part", async () => {
  const { view, line } = await live();
  line.say(sync({ from: 10, to: 10, more: true, agents: { a: { set: { n: 1 }, at: 1 } } }));
  assert.equal(view.status, "stale");
  line.say(sync({ from: 10, to: 20 }));
  assert.equal(view.status, "live");
});

test("listeners hear of what changed, and state comes before events, events before the status", async () => {
  const { view, line } = await live();
  const heard = [];
  view.subscribe(() => heard.push("view"));
  view.subscribeAgent("a", () => heard.push(`a ${view.get("a").n}`));
  view.subscribeAgent("b", () => heard.push("b"));
  view.onEvent(({ update_type, agent_id }) => heard.push(`${update_type} ${view.get(agent_id).n}`));
  view.onStatus(({ status }) => heard.push(status));
  const event = { offset: 11, agent_id: "a", update_type: "said", data: {}, timestamp: 1 };
  line.say(sync({ from: 10, to: 11, more: true, agents: { a: { set: { n: 7 }, at: 1 } }, events: [event] }));
  assert.deepEqual(heard, ["a 7", "view", "said 7", "stale"]);
  const before = view.snapshot;
  line.say(sync({ from: 9, to: 11, events: [event] }));
  assert.deepEqual(heard.slice(4), ["view", "live"]);
  assert.notEqual(view.snapshot, before);
  const same = view.snapshot;
  line.say(sync({ from: 9, to: 11, events: [event] }));
  assert.equal(view.snapshot, same, "nothing changed: the same object");
  view.close();
  line.say(sync({ from: 11, to: 12, agents: { a: { set: { n: 8 }, at: 1 } } }));
  assert.equal(heard.length, 6);
});

test("frames that ask are acknowledged once applied, with their age and what was repaired", async () => {
  const { view, line, around } = await live();
  const before = view.get("a");
  let atAck;
  line.send = (text) => {
    atAck = view.get("a");
    line.sent.push(JSON.parse(text));
  };
  around.time += 500; // the server's clock said 5000 at the greeting
  const told = { a: { set: { n: 1 }, at: 5000.2 } };
  line.say(sync({ from: 10, to: 11, ts: 5000.4, ack: true, agents: told }));
  assert.notEqual(atAck, before);
  const [{ age_ms, ...ack }] = line.all("ack");
  assert.deepEqual(ack, { channel: "villa", offset: 11 });
  assert.equal(Math.round(age_ms), 300);
  const check = { count: 2, agents: { b: { mood: "other" } } };
  line.say(sync({ from: 11, to: 12, ts: 5000.5, check }), sync({ from: 12, to: 13, ts: 5000.5, ack: true }));
  assert.equal(view.get("b").mood, "other");
  assert.deepEqual(line.all("ack")[1], { channel: "villa", offset: 13, repaired: 1 });
  line.say(sync({ from: 13, to: 14, ts: 5000.5, ack: true }));
  assert.deepEqual(line.all("ack")[2], { channel: "villa", offset: 14 });
  // Of channels that were left, too: else the server would wait.
  line.say({ ...sync({ from: 1, to: 9, ack: true }), channel: "left" });
  assert.deepEqual(line.all("ack")[3], { channel: "left", offset: 9 });
});

test("ages are right where this machine's clock is wrong by hours, whatever a frame took to come", async () => {
  for (const wrongMs of [0, 3 * 3600_000, -26 * 3600_000]) {
    const stage = staged();
    const { around } = stage;
    around.time += wrongMs;
    const begun = around.time;
    const serverTime = () => 1_700_000_000 + (around.time - begun) / 1000; // and its clock is not
    const come = (ms, frame) => {
      const sent = serverTime();
      around.time += ms;
      stage.line.say(frame(sent));
    };
    stage.client.channel("villa");
    come(40, (sent) => ({ type: "connection_established", connection_id: "c1", timestamp: sent }));
    await settled();
    stage.line.confirm("villa");
    come(40, (ts) => snapshot(10, {}, { ts }));
    let to = 10;
    for (const wayMs of [40, 2500, 300]) {
      const queued = serverTime();
      around.time += 10; // until the server made a frame of it
      const told = { a: { set: { n: to }, at: queued } };
      come(wayMs, (ts) => sync({ from: to, to: ++to, ts, ack: true, agents: told }));
      const { age_ms } = stage.line.all("ack").at(-1);
      const lateMs = 10 + wayMs;
      assert.ok(age_ms <= lateMs + 1 && age_ms >= lateMs - 41, `${age_ms} ms instead of ${lateMs}; ${wrongMs} ms wrong`);
    }
    // A ping of which the way back is as long as the way there: now it is exact.
    const pingedAt = around.time;
    around.time += 40;
    come(40, (sent) => ({ type: "pong", timestamp: pingedAt, server_time: sent }));
    const queued = serverTime();
    come(700, (ts) => sync({ from: to, to: ++to, ts, ack: true, agents: { a: { set: { n: to }, at: queued } } }));
    assert.ok(Math.abs(stage.line.all("ack").at(-1).age_ms - 700) < 1);
  }
});

test("a catch-up's age is told, too: the server knows of which frames it says something", async () => {
  const { line } = await live();
  line.say(snapshot(20, { a: { n: 1 } }, { ack: true }));
  const [{ age_ms, ...ack }] = line.all("ack");
  assert.deepEqual(ack, { channel: "villa", offset: 20 });
  assert.ok(age_ms > 0);
});

test("a frame that begins after the position leads to one more subscription, from there", async () => {
  const { view, line } = await live();
  line.say(sync({ from: 12, to: 13, agents: { a: { set: { n: 1 }, at: 1 } } }));
  line.say(sync({ from: 13, to: 14 }));
  assert.equal(view.status, "stale");
  assert.deepEqual(line.all("subscribe").slice(1), [
    { channels: ["villa"], since: { villa: { epoch: "e", offset: 10, view: "" } }, fields: {} },
  ]);
  line.confirm("villa");
  line.say(sync({ from: 10, to: 14, agents: { a: { set: { n: 2 }, at: 1 } } }));
  assert.equal(view.status, "live");
  assert.equal(view.get("a").n, 2);
});

test("a self-check that finds another number of agents begins afresh at once, with the old screen still there", async () => {
  const { view, line } = await live();
  line.say(sync({ from: 10, to: 11, check: { count: 3, agents: {} } }));
  assert.deepEqual(line.all("subscribe")[1], { channels: ["villa"], since: {}, fields: {} });
  assert.equal(view.status, "stale");
  assert.equal(view.agents.size, 2);
  line.confirm("villa");
  line.say(snapshot(12, { a: {}, b: {}, c: {} }, { ack: true }));
  assert.equal(view.status, "live");
  assert.deepEqual(line.all("ack"), [{ channel: "villa", offset: 12, age_ms: 1000, repaired: 1 }]);
});

test("a refused channel shows nothing, and one that is withdrawn no more", async () => {
  const storage = new Drawer();
  const { client, view, line, stage } = await live({ storage });
  stage.around.tell("hide");
  assert.equal(storage.items.size, 1);
  const errors = [];
  client.onError(({ code }) => errors.push(code));
  const secret = client.channel("secret");
  await settled();
  line.confirm();
  line.say({ type: "error", code: "channel_refused", message: "1 channel(s) refused" });
  assert.equal(secret.status, "refused");
  assert.equal(view.status, "live");
  assert.deepEqual(errors, ["channel_refused"]);
  line.say({ type: "unsubscription_confirmed", channels: ["villa"] });
  assert.equal(view.status, "refused");
  assert.equal(view.agents.size, 0);
  assert.equal(storage.items.size, 0);
  line.say(sync({ from: 10, to: 11, agents: { a: { set: {}, at: 1 } } }));
  assert.equal(view.agents.size, 0);
  // A new user, or a new line, asks again.
  client.channel("villa");
  await settled();
  assert.deepEqual(line.all("subscribe").at(-1).channels, ["villa"]);
});

test("an ended log-in empties the screen and the storage", async () => {
  const storage = new Drawer();
  const { view, line, stage } = await live({ storage });
  stage.around.tell("hide");
  line.drop(4001);
  assert.equal(view.status, "refused");
  assert.equal(view.agents.size, 0);
  assert.equal(storage.items.size, 0);
  stage.client.reconnect();
  stage.line.greet();
  stage.line.confirm("villa");
  stage.line.say(snapshot(3, { a: {} }));
  assert.equal(view.status, "live");
});

test("a subscription ends with its last user, after a while", async () => {
  const { client, view, line, around } = await live({ lingerMs: 100 });
  const second = client.channel("villa");
  await settled();
  assert.equal(line.all("subscribe").length, 1, "one subscription for all");
  view.close();
  view.close();
  await around.pass(200);
  assert.deepEqual(line.all("unsubscribe"), []);
  second.close();
  await around.pass(50);
  const third = client.channel("villa"); // comes back before the while is over
  await around.pass(200);
  assert.deepEqual(line.all("unsubscribe"), []);
  assert.equal(third.status, "live");
  third.close();
  await around.pass(101);
  assert.deepEqual(line.all("unsubscribe"), [{ channels: ["villa"] }]);
  // Opened again before the server has confirmed: its answer to the old one refuses nothing.
  const fourth = client.channel("villa");
  await settled();
  line.say({ type: "unsubscription_confirmed", channels: ["villa"] });
  line.say(sync({ from: 10, to: 11 })); // on its way before
  line.confirm("villa");
  assert.equal(fourth.status, "loading");
  line.say(snapshot(12, {}));
  assert.equal(fourth.status, "live");
  assert.equal(third.status, "closed");
});

test("a view has what any of its users asked for", async () => {
  const stage = staged();
  const { client } = stage;
  const map = client.channel("villa", { fields: ["x"] });
  stage.line.greet();
  await settled();
  stage.line.confirm("villa");
  stage.line.say(snapshot(10, { a: { x: 1 } }, { view: "x" }));
  assert.equal(map.status, "live");
  client.channel("villa", { fields: ["x"] });
  await settled();
  assert.equal(stage.line.all("subscribe").length, 1);
  client.channel("villa", { fields: ["y"] });
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[1], { channels: ["villa"], since: {}, fields: { villa: ["x", "y"] } });
  assert.equal(map.status, "stale");
  stage.line.say(sync({ view: "x", from: 10, to: 11, agents: { a: { set: { x: 2 }, at: 1 } } }));
  stage.line.say(snapshot(11, { a: { x: 2 } }, { view: "x" }));
  assert.equal(map.get("a").x, 1, "a frame of the view before is not applied");
  stage.line.confirm("villa");
  stage.line.say(snapshot(12, { a: { x: 3, y: 4 } }, { view: "x,y" }));
  assert.deepEqual({ ...map.get("a") }, { x: 3, y: 4 });
  client.channel("villa");
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[2].fields, {});
});

test("who asks for more fields than a projection may have, alone or with others, asks for all", async () => {
  const stage = staged();
  const names = (from, to) => Array.from({ length: to - from }, (_, at) => `f${from + at}`);
  stage.client.channel("villa", { fields: names(0, 60) });
  stage.client.channel("map", { fields: names(0, 101) });
  stage.line.greet();
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[0].fields, { villa: names(0, 60) });
  stage.client.channel("villa", { fields: names(60, 100) });
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[1].fields, { villa: names(0, 100) });
  stage.client.channel("villa", { fields: names(100, 101) });
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[2], { channels: ["villa"], since: {}, fields: {} });
  stage.client.channel("villa", { fields: names(0, 1) });
  await settled();
  assert.equal(stage.line.all("subscribe").length, 3);
});

test("a name that no projection may have is said once and left out, and nobody else is without theirs", async () => {
  const stage = staged();
  const errors = [];
  stage.client.onError((error) => errors.push(error));
  const view = stage.client.channel("villa", { fields: ["mood", "a,b", "x\ny"] });
  const map = stage.client.channel("map", { fields: ["__proto__", "é".repeat(101)] });
  stage.line.greet();
  await settled();
  const [asked] = stage.line.all("subscribe");
  assert.deepEqual(asked, { channels: ["villa"], since: {}, fields: { villa: ["mood"] } });
  assert.deepEqual(errors.map(({ code }) => code), ["invalid_field", "invalid_field"]);
  assert.match(errors[0].message, /^fields of villa: no projection may have "a,b", "x\\ny": give names of 1 to 100/);
  stage.line.confirm("villa");
  stage.line.say(snapshot(1, { a: { mood: "calm" } }, { view: "mood" }));
  assert.equal(view.status, "live");
  assert.equal(map.status, "refused", "of what it asked for there is nothing");
  // Again, on another line, and by others: nothing more is said, and the server is not bothered.
  stage.client.channel("map", { fields: ["__proto__"] });
  stage.client.channel("villa", { fields: ["a,b"] });
  stage.line.drop();
  await stage.around.pass(20_000);
  stage.line.greet();
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[0].channels, ["villa"]);
  assert.equal(errors.length, 2);
  assert.equal(map.status, "refused");
  // Somebody who asks for what there is gets it.
  stage.client.channel("map", { fields: ["x"] });
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[1], { channels: ["map"], since: {}, fields: { map: ["x"] } });
  assert.deepEqual(stage.around.errors, []);
});

test("a name that no projection may have goes to the console where nobody listens for errors", async () => {
  const stage = staged();
  stage.client.channel("villa", { fields: ["a,b"] });
  assert.match(String(stage.around.errors[0]), /no projection may have "a,b"/);
  assert.equal(stage.around.errors.length, 1);
});

test("what is kept of a whole channel is not shown to who can be shown nothing, and stays", async () => {
  const storage = new Drawer();
  const { stage } = await live({ storage });
  stage.around.tell("hide");
  stage.client.close();
  const next = staged({ storage });
  const view = next.client.channel("villa", { fields: ["a,b"] });
  assert.equal(view.agents.size, 0);
  assert.equal(storage.items.size, 1);
});

test("a channel for which the server refuses a frame is found, and asked for no more", async () => {
  const stage = staged();
  const errors = [];
  stage.client.onError(({ code }) => errors.push(code));
  const views = ["a", "b", "c", "d", "e"].map((name) => stage.client.channel(name, { fields: ["x"] }));
  stage.line.greet();
  await settled();
  let answered = 0;
  /** A server that refuses each frame with `d`, as a later one might. */
  const answerAll = () => {
    for (let all = stage.line.all("subscribe"); answered < all.length; all = stage.line.all("subscribe")) {
      const { channels } = all[answered++];
      if (channels.includes("d")) stage.line.say({ type: "error", code: "invalid_field", message: "fields of d ..." });
      else stage.line.confirm(...channels);
    }
  };
  answerAll();
  assert.deepEqual(
    stage.line.all("subscribe").map(({ channels }) => channels.join()),
    ["a,b,c,d,e", "a,b,c", "d,e", "d", "e"],
  );
  assert.deepEqual(errors, ["invalid_field"], "said once");
  assert.deepEqual(views.map(({ status }) => status), ["loading", "loading", "loading", "refused", "loading"]);
  await stage.around.pass(9_000);
  stage.line.say({ type: "pong", timestamp: 1000, server_time: 5000 });
  await stage.around.pass(9_000);
  assert.equal(stage.lines.length, 1, "the line is well");
  stage.line.drop();
  await stage.around.pass(20_000);
  stage.line.greet();
  assert.deepEqual(stage.line.all("subscribe")[0].channels, ["a", "b", "c", "e"]);
  // With other fields it is another view, which may be.
  stage.client.channel("d", { fields: ["y"] });
  await settled();
  assert.deepEqual(stage.line.all("subscribe")[1].fields, { d: ["x", "y"] });
});

test("a frame refused for its one channel takes the notices of the system along, which are asked for again", async () => {
  const stage = staged();
  stage.line.greet();
  stage.line.say({ ...sync({ from: 0, to: 2, reset: true }), channel: "update_pipeline.system" });
  const view = stage.client.channel("villa", { fields: ["x"] });
  stage.line.drop();
  await stage.around.pass(20_000);
  stage.line.greet();
  assert.deepEqual(stage.line.all("subscribe")[0].channels, ["villa", "update_pipeline.system"]);
  stage.line.say({ type: "error", code: "invalid_field", message: "no" });
  assert.equal(view.status, "refused");
  assert.deepEqual(stage.line.all("subscribe")[1].channels, ["update_pipeline.system"]);
  stage.line.confirm("update_pipeline.system");
  stage.line.say({ type: "error", code: "invalid_field", message: "of something else" });
  assert.equal(stage.line.all("subscribe").length, 2);
});

test("a reload is a resume", async () => {
  const storage = new Drawer();
  const first = await live({ storage });
  first.around.tell("hide");
  const stage = staged({ storage });
  const view = stage.client.channel("villa");
  assert.equal(view.status, "stale");
  assert.equal(view.get("a").mood, "calm");
  stage.line.greet();
  assert.deepEqual(stage.line.all("subscribe")[0].since, { villa: { epoch: "e", offset: 10, view: "" } });
  stage.line.confirm("villa");
  stage.line.say(sync({ from: 10, to: 11 }));
  assert.equal(view.status, "live");
  // Another user's page takes nothing of it, and neither does another view.
  assert.equal(staged({ storage, storageOwner: "eve" }).client.channel("villa").status, "loading");
  assert.equal(staged({ storage }).client.channel("villa", { fields: ["mood"] }).status, "loading");
});

test("what is kept and broken is ignored, and so is a storage that fails", async () => {
  const storage = new Drawer();
  const first = await live({ storage });
  first.client.close();
  const [[key, text]] = storage.items;
  const wrong = ["", "{", "null", "[]", "{}", text.replace('"version":1', '"version":2'), text.replace('"offset":10', '"offset":-1')];
  for (const broken of wrong) {
    storage.items.set(key, broken);
    assert.equal(staged({ storage }).client.channel("villa").status, "loading", broken);
    assert.equal(storage.items.has(key), false);
  }
  const fails = () => {
    throw new Error("quota");
  };
  const { view, around, client } = await live({ storage: { getItem: fails, setItem: fails, removeItem: fails } });
  around.tell("hide");
  client.close();
  assert.equal(view.agents.size, 2);
  assert.deepEqual(around.errors, []);
});

test("what changes is kept every few seconds, too", async () => {
  const storage = new Drawer();
  const { around, line } = await live({ storage });
  await around.pass(5000);
  assert.match([...storage.items.values()][0], /"offset":10/);
  line.say(sync({ from: 10, to: 11 }));
  await around.pass(5000);
  assert.match([...storage.items.values()][0], /"offset":11/);
});

test("actions are answered, refused, or end without an answer", async () => {
  const { client, line, around, stage } = await live();
  const moved = client.act("a", "move", { x: 1 });
  const flown = client.act("a", "fly");
  const lost = client.act("a", "swim", {}, { timeoutMs: 1000 });
  assert.deepEqual(line.all("agent_action"), [
    { agent_id: "a", action: "move", params: { x: 1 }, id: 1 },
    { agent_id: "a", action: "fly", params: {}, id: 2 },
    { agent_id: "a", action: "swim", params: {}, id: 3 },
  ]);
  const failed = assert.rejects(flown, (error) => error instanceof ActionError && error.code === "forbidden");
  line.say({ type: "error", id: 2, code: "forbidden", message: "no" });
  line.say({ type: "action_queued", agent_id: "a", action: "move", id: 1 });
  await Promise.all([moved, failed]);
  const late = assert.rejects(lost, { code: "no_answer" });
  await around.pass(1001);
  await late;
  line.say({ type: "action_queued", id: 3 }); // late: nobody waits
  const broken = assert.rejects(client.act("a", "run"), { code: "connection_lost" });
  line.drop();
  await broken;
  // Without a line it waits for one.
  const waits = client.act("a", "dance");
  await around.pass(stage.client.status.retryInMs);
  stage.line.drop(); // it was not sent, so it waits on
  await around.pass(stage.client.status.retryInMs);
  stage.line.greet();
  assert.deepEqual(stage.line.all("agent_action").map(({ action }) => action), ["dance"]);
  stage.line.say({ type: "action_queued", id: 5 });
  await waits;
  const closed = assert.rejects(client.act("a", "sleep"), { code: "client_closed" });
  client.close();
  await closed;
});

test("notifications come once each, also those of an absence", async () => {
  const { client, line, around, stage } = await live();
  const told = [];
  client.onNotification(({ level, message }) => told.push(`${level} ${message}`));
  const system = (frame) => ({ ...sync(frame), channel: "update_pipeline.system" });
  const said = (offset, message) => ({
    offset,
    agent_id: "system",
    update_type: "system_notification",
    data: { level: "info", message },
    timestamp: 1,
  });
  line.say(system({ from: 0, to: 5, reset: true }), system({ from: 5, to: 6, events: [said(6, "one")], ack: true }));
  assert.deepEqual(line.all("ack"), [{ channel: "update_pipeline.system", offset: 6, age_ms: 4_999_000 }]);
  line.drop();
  await around.pass(600);
  stage.line.greet();
  const [{ channels, since }] = stage.line.all("subscribe");
  assert.deepEqual(channels, ["villa", "update_pipeline.system"]);
  assert.deepEqual(since["update_pipeline.system"], { epoch: "e", offset: 6, view: "" });
  // The new socket's own beginning at the head comes first, then what was asked for.
  stage.line.say(system({ from: 0, to: 9, reset: true }));
  stage.line.confirm("villa", "update_pipeline.system");
  stage.line.say(system({ from: 6, to: 9, events: [said(8, "two"), said(9, "three")] }));
  stage.line.say(system({ from: 6, to: 10, events: [said(9, "three"), said(10, "four")] }));
  assert.deepEqual(told, ["info one", "info two", "info three", "info four"]);
  // Another log: where it stands now is the beginning.
  stage.line.say({ ...system({ from: 0, to: 3, reset: true }), epoch: "f" });
  stage.line.say({ ...system({ from: 3, to: 4, events: [said(4, "five")] }), epoch: "f" });
  assert.equal(told.at(-1), "info five");
});

test("a subscription that is not answered is asked for on another line", async () => {
  const stage = staged({ answerWithinMs: 300 });
  stage.client.channel("villa");
  stage.line.greet();
  await stage.around.pass(200);
  stage.line.say({ type: "pong", timestamp: 1000, server_time: 5000 });
  await stage.around.pass(200);
  assert.equal(stage.client.status.state, "waiting");
  await stage.around.pass(stage.client.status.retryInMs);
  stage.line.greet();
  assert.equal(stage.line.all("subscribe").length, 1);
});

test("a closed client's views are closed", async () => {
  const { client, view } = await live();
  const told = [];
  view.onStatus(({ status }) => told.push(status));
  client.close();
  assert.deepEqual(told, ["stale", "closed"]);
  assert.equal(view.status, "closed");
  assert.equal(client.peek("villa"), undefined);
});

test("the server may show less than was asked for, and something else at any time", async () => {
  const storage = new Drawer();
  const { view, line, stage } = await live({ storage });
  assert.deepEqual([view.fields, view.hasEvents], [null, true]);
  stage.around.tell("hide");
  line.say(snapshot(12, { a: { mood: "calm" } }, { view: "mood,,no-events", more: true }));
  assert.deepEqual([view.fields, view.hasEvents, view.status], [["mood"], false, "stale"]);
  line.say(sync({ from: 0, to: 12, view: "mood,,no-events", agents: {} }));
  assert.equal(view.status, "live");
  assert.deepEqual(line.all("subscribe").length, 1, "nothing has to be asked for");
  stage.around.tell("hide");
  const back = staged({ storage });
  const again = back.client.channel("villa");
  assert.deepEqual(again.fields, ["mood"], "what is kept is what was shown");
  back.line.greet();
  await settled();
  assert.deepEqual(back.line.all("subscribe")[0].since, { villa: { epoch: "e", offset: 12, view: "mood,,no-events" } });
});
