import assert from "node:assert/strict";
import test from "node:test";
import { utf8Length } from "../dist/frames.js";
import { UNREAD_CHARS } from "../dist/line.js";
import { settled, snapshot, staged, sync } from "./stage.mjs";

/** A client with `villa` open and live at offset 10, and what its view tells. */
async function live(options = {}) {
  const stage = staged(options);
  const view = stage.client.channel("villa");
  stage.line.greet();
  await settled();
  stage.line.confirm("villa");
  stage.line.say(snapshot(10, { a: { mood: "calm" }, b: { mood: "calm" } }));
  const told = [];
  view.onStatus(({ status, catchUp }) => told.push([status, catchUp]));
  return { stage, view, told, client: stage.client, around: stage.around, line: stage.line };
}

const change = (to, set, more = {}) => sync({ from: to - 1, to, agents: { a: { set, at: 4999 } }, ...more });

test("while it is paused nothing is applied, acknowledged, asked or given up, and the view is stale", async () => {
  const { stage, view, told, client, around, line } = await live({ pingEveryMs: 1000, answerWithinMs: 500 });
  const sent = line.sent.length;
  client.pause();
  client.pause();
  assert.equal(client.isPaused, true);
  line.say(change(11, { mood: "happy" }, { ack: true }));
  around.tell("wake");
  client.channel("news");
  await around.pass(60_000);
  assert.equal(view.get("a").mood, "calm");
  assert.deepEqual(told, [["stale", null]]);
  assert.equal(line.sent.length, sent);
  assert.equal(stage.lines.length, 1);
  assert.equal(client.status.state, "open");
});

test("after a pause it acknowledges first, then asks what else has changed, and is live with the answer", async () => {
  const { view, told, client, line } = await live();
  const sent = line.sent.length;
  client.pause();
  const unread = change(11, { mood: "happy" }, { ack: true });
  line.say(unread);
  client.resume();
  await settled();
  assert.equal(client.isPaused, false);
  assert.deepEqual(line.sent.slice(sent).map(({ type }) => type), ["ack", "ping", "subscribe"]);
  assert.deepEqual(line.sent[sent], { type: "ack", channel: "villa", offset: 11, age_ms: 1000 });
  assert.deepEqual(line.all("subscribe").at(-1), {
    channels: ["villa"],
    since: { villa: { epoch: "e", offset: 11, view: "" } },
    fields: {},
  });
  assert.equal(view.get("a").mood, "happy");
  const before = change(12, { n: 1 }); // sent before the server heard the question
  line.say(before);
  assert.equal(view.status, "stale");
  line.confirm("villa");
  const answer = change(13, { n: 2, m: 2 });
  line.say(answer);
  const bytes = [unread, before, answer].reduce((sum, frame) => sum + JSON.stringify(frame).length, 0);
  const catchUp = { frames: 3, bytes, agents: 3, fields: 4, events: 0, isReset: false };
  assert.deepEqual(told, [["stale", null], ["live", catchUp]]);
  line.say(change(14, { n: 3 }));
  assert.equal(told.length, 2);
});

test("a line that breaks in a pause stays away until it is over", async () => {
  for (const [code, comesBack] of [[1006, true], [4009, true], [4403, false]]) {
    const { stage, client, around, line } = await live();
    client.pause();
    line.say(change(11, { mood: "happy" }));
    line.drop(code);
    assert.equal(client.status.state, "closed");
    assert.equal(client.status.code, code);
    around.tell("wake");
    await around.pass(100_000);
    assert.equal(stage.lines.length, 1);
    client.resume();
    assert.equal(stage.lines.length, comesBack ? 2 : 1);
    if (!comesBack) continue;
    stage.line.greet();
    // What was not read is told again: it goes on from what was applied.
    assert.equal(stage.line.all("subscribe")[0].since.villa.offset, 10);
  }
});

test("a pause between two lines, and one before the greeting, end with a line", async () => {
  const waits = await live();
  waits.line.drop();
  waits.client.pause();
  await waits.around.pass(100_000);
  assert.equal(waits.stage.lines.length, 1);
  waits.client.resume();
  assert.equal(waits.stage.lines.length, 2);

  const early = staged({ answerWithinMs: 500 });
  const view = early.client.channel("villa");
  early.client.pause();
  early.line.greet();
  await early.around.pass(10_000);
  assert.equal(early.line.sent.length, 0);
  early.client.resume();
  assert.deepEqual(early.line.sent.map(({ type }) => type), ["ping", "subscribe"]);
  early.line.confirm("villa");
  early.line.say(snapshot(1, {}));
  assert.equal(view.status, "live");
});

test("where far more comes than is read, the line is given up, and comes back from where it was", async () => {
  const { stage, client, line } = await live();
  client.pause();
  const frame = change(11, { text: "x".repeat(1000) });
  const often = Math.ceil(UNREAD_CHARS / JSON.stringify(frame).length);
  for (let count = 1; count < often; count++) line.say(frame);
  assert.equal(client.status.state, "open");
  line.say(frame);
  assert.equal(client.status.state, "closed");
  assert.ok(line.isClosed);
  client.resume();
  stage.line.greet();
  assert.equal(stage.line.all("subscribe")[0].since.villa.offset, 10);
});

test("a line that is cut on purpose stays cut until it is asked for, also by the end of a pause", async () => {
  const { stage, view, client, around, line } = await live();
  client.disconnect();
  assert.ok(line.isClosed);
  assert.equal(client.status.state, "closed");
  assert.equal(view.status, "stale");
  assert.equal(view.agents.size, 2);
  client.pause();
  client.resume();
  around.tell("wake");
  await around.pass(100_000);
  assert.equal(stage.lines.length, 1);
  client.pause();
  client.reconnect();
  assert.equal(stage.lines.length, 2);
  stage.line.greet();
  assert.deepEqual(stage.line.all("subscribe")[0].since.villa, { epoch: "e", offset: 10, view: "" });
});

test("each frame is told when it has been applied, with its bytes and its age by the server's clock", async () => {
  const { view, client, around, line } = await live();
  around.time += 300; // the server's clock said 5000 at the greeting
  const told = [];
  view.subscribe(() => told.push("changed"));
  view.onFrame(({ ageMs, ...frame }) => told.push(frame, ageMs === null ? null : Math.round(ageMs)));
  const event = { offset: 12, agent_id: "a", update_type: "said", data: { text: "olé 🌹" }, timestamp: 5000.1 };
  const frame = { from: 10, to: 12, ts: 5000.2, agents: { a: { set: { n: 1 }, unset: ["mood"], at: 5000.2 } } };
  const texts = [{ ...frame, removed: ["a", "b"], events: [event] }, { from: 12, to: 13, more: true, events: [] }].map(sync);
  line.say(...texts);
  const [bytes, small] = texts.map((one) => Buffer.byteLength(JSON.stringify(one)));
  assert.deepEqual(told, [
    "changed",
    { bytes, agents: ["a", "b"], fields: 2, events: 1 },
    200,
    "changed",
    { bytes: small, agents: [], fields: 0, events: 0 },
    null, // it is catching up
  ]);
  assert.ok(client.serverTime > 5000);
});

test("a text's bytes are counted as they travel", () => {
  for (const text of ["", "abc", "é", "߿ࠀ", "漢字", "🌹🌹", "a🌹é漢"]) {
    assert.equal(utf8Length(text), Buffer.byteLength(text), text);
  }
});

test("what is shown has the size of the snapshot that tells it", async () => {
  const { view, line } = await live();
  const told = snapshot(10, { a: { mood: "calm" }, b: { mood: "calm" } }, { ts: 4999 });
  assert.equal(view.snapshotBytes(), Buffer.byteLength(JSON.stringify(told)));
  line.say(sync({ from: 10, to: 11, agents: { a: { set: { mood: "olé" }, at: 5000 } } }));
  const after = snapshot(11, { a: { mood: "olé" }, b: { mood: "calm" } });
  after.agents.a.at = 5000;
  assert.equal(view.snapshotBytes(), Buffer.byteLength(JSON.stringify(after)));
});
