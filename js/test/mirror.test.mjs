import assert from "node:assert/strict";
import test from "node:test";
import { Mirror } from "../dist/mirror.js";
import { sameJson, shallowEqual } from "../dist/equal.js";
import { viewName } from "../dist/frames.js";

const parsed = (frame) => JSON.parse(JSON.stringify({ type: "sync", channel: "villa", epoch: "e", event_count: 0, ...frame }));

function filled(...agentIds) {
  const mirror = new Mirror();
  const agents = Object.fromEntries(agentIds.map((agentId) => [agentId, { set: { mood: "calm", at: { x: 1 } }, at: 1 }]));
  mirror.apply(parsed({ from: 0, to: 10, reset: true, agents, event_count: 3 }));
  return mirror;
}

test("a change replaces its fields, and an untouched agent keeps its identity", () => {
  const mirror = filled("a", "b");
  const [a, b] = [mirror.get("a"), mirror.get("b")];
  const applied = mirror.apply(parsed({ from: 10, to: 11, agents: { a: { set: { mood: "happy" }, at: 2 } }, event_count: 3 }));
  assert.deepEqual([...applied.changed], ["a"]);
  assert.deepEqual({ ...mirror.get("a") }, { mood: "happy", at: { x: 1 } });
  assert.notEqual(mirror.get("a"), a);
  assert.equal(mirror.get("a").at, a.at, "an untouched field keeps its identity");
  assert.equal(mirror.get("b"), b);
  assert.equal(mirror.changedAt("a"), 2);
});

test("what is told again unchanged keeps its identity", () => {
  const mirror = filled("a");
  const a = mirror.get("a");
  const again = { a: { set: { at: { x: 1 }, mood: "calm" }, at: 5 } };
  assert.equal(mirror.apply(parsed({ from: 9, to: 12, agents: again, event_count: 3 })).changed.size, 0);
  assert.equal(mirror.get("a"), a);
  mirror.apply(parsed({ from: 9, to: 13, removed: ["a"], agents: again, event_count: 3 }));
  assert.equal(mirror.get("a"), a);
  mirror.apply(parsed({ from: 0, to: 13, reset: true, epoch: "f", agents: again, event_count: 3 }));
  assert.equal(mirror.get("a"), a);
});

test("a frame that begins after the position, or is of another epoch, asks for another subscription", () => {
  const mirror = filled("a");
  assert.equal(mirror.apply(parsed({ from: 11, to: 12, event_count: 3 })), null);
  assert.equal(mirror.apply(parsed({ from: 10, to: 12, epoch: "f", event_count: 3 })), null);
  assert.deepEqual(mirror.since(), { epoch: "e", offset: 10, view: "" });
});

test("a snapshot in parts takes the place of what is shown when it is complete", () => {
  const mirror = filled("a", "b");
  const part = (agents, more) => mirror.apply(parsed({ epoch: "f", from: 0, to: more ? 0 : 40, more, agents, event_count: 9 }));
  const first = { c: { set: { mood: "new" }, at: 3 } };
  const applied = mirror.apply(parsed({ epoch: "f", from: 0, to: 0, reset: true, more: true, agents: first, event_count: 9 }));
  assert.equal(applied.changed.size, 0);
  assert.equal(mirror.isLive, false);
  assert.deepEqual([...mirror.agents().keys()], ["a", "b"]);
  part({ b: { set: { mood: "angry" }, at: 3 } }, true);
  assert.equal(mirror.get("b").mood, "calm");
  assert.equal(mirror.save(), null, "half of a snapshot is nothing to come back with");
  const last = part({ d: { set: {}, at: 3 } }, false);
  assert.deepEqual([...last.changed].sort(), ["a", "b", "c", "d"]);
  assert.deepEqual([...mirror.agents().keys()].sort(), ["b", "c", "d"]);
  assert.equal(mirror.get("b").mood, "angry");
  assert.deepEqual(mirror.since(), { epoch: "f", offset: 40, view: "" });
});

test("an urgent part of a snapshot is shown at once, and the rest of it still when it is complete", () => {
  const mirror = filled("a", "b", "z");
  mirror.apply(parsed({ epoch: "f", from: 0, to: 0, reset: true, more: true, agents: { c: { set: {}, at: 3 } } }));
  const urgent = { from: 0, to: 0, more: true, urgent: true, epoch: "f" };
  const event = { offset: 50, agent_id: "b", update_type: "alarm", data: {}, timestamp: 4 };
  const applied = mirror.apply(
    parsed({ ...urgent, agents: { b: { set: { mood: "panic" }, at: 4 } }, removed: ["z"], events: [event] }),
  );
  assert.deepEqual([...applied.changed].sort(), ["b", "z"]);
  assert.equal(applied.events.length, 1);
  assert.deepEqual({ ...mirror.get("b") }, { mood: "panic" }, "whole: fields of the old snapshot are gone");
  assert.deepEqual([...mirror.agents().keys()], ["a", "b"]);
  const b = mirror.get("b");
  mirror.apply(parsed({ epoch: "f", from: 0, to: 40, agents: {} }));
  assert.deepEqual([...mirror.agents().keys()], ["c", "b"]);
  assert.equal(mirror.get("b"), b);
  const later = mirror.apply(parsed({ epoch: "f", from: 40, to: 51, events: [event], event_count: 1 }));
  assert.equal(later.events.length, 0, "in its turn it is skipped");
  assert.equal(later.missed, 0, "but counted");
});

test("the first snapshot of an empty screen is shown as it comes", () => {
  const mirror = new Mirror();
  mirror.apply(parsed({ from: 0, to: 0, reset: true, more: true, agents: { a: { set: { n: 1 }, at: 1 } } }));
  assert.equal(mirror.size, 1);
  assert.equal(mirror.since(), undefined);
});

test("a snapshot that was cut begins again, with the old screen still there", () => {
  const mirror = filled("a");
  const begin = { epoch: "f", from: 0, to: 0, reset: true, more: true };
  mirror.apply(parsed({ ...begin, agents: { gone: { set: {}, at: 1 } } }));
  mirror.apply(parsed({ ...begin, agents: { b: { set: {}, at: 1 } } }));
  assert.deepEqual([...mirror.agents().keys()], ["a"]);
  mirror.apply(parsed({ epoch: "f", from: 0, to: 7 }));
  assert.deepEqual([...mirror.agents().keys()], ["b"]);
});

test("events come once, and those that the server let go of are counted", () => {
  const mirror = filled("a");
  const event = (offset) => ({ offset, agent_id: "a", update_type: "said", data: {}, timestamp: 1 });
  const first = mirror.apply(parsed({ from: 10, to: 12, events: [event(9), event(11), event(12)], event_count: 5 }));
  assert.deepEqual(first.events.map(({ offset }) => offset), [11, 12]);
  const second = mirror.apply(parsed({ from: 10, to: 20, events: [event(12), event(20)], event_count: 9 }));
  assert.deepEqual(second.events.map(({ offset }) => offset), [20]);
  assert.equal(second.missed, 3);
  assert.equal(mirror.missed, 3);
});

test("a channel that had nothing yet counts what it misses, too", () => {
  const mirror = new Mirror();
  mirror.apply(parsed({ from: 0, to: 0, reset: true, event_count: 0 }));
  const event = { offset: 9, agent_id: "a", update_type: "said", data: {}, timestamp: 1 };
  assert.equal(mirror.apply(parsed({ from: 0, to: 9, events: [event], event_count: 3 })).missed, 2);
});

test("the self-check repairs what differs, and begins afresh where agents are missing", () => {
  const mirror = filled("a", "b");
  const same = { count: 2, agents: { a: { at: { x: 1 }, mood: "calm" } } };
  assert.equal(mirror.apply(parsed({ from: 10, to: 11, check: same, event_count: 3 })).repaired, 0);
  const other = { count: 2, agents: { a: { mood: "calm" } } };
  const applied = mirror.apply(parsed({ from: 11, to: 12, check: other, event_count: 3 }));
  assert.equal(applied.repaired, 1);
  assert.deepEqual([...applied.changed], ["a"]);
  assert.deepEqual({ ...mirror.get("a") }, { mood: "calm" });
  assert.equal(mirror.apply(parsed({ from: 12, to: 13, check: { count: 3, agents: {} }, event_count: 3 })).repaired, 1);
  assert.equal(mirror.since(), undefined);
  assert.equal(mirror.size, 2, "what is shown stays until the snapshot comes");
});

test("no name reaches a prototype", () => {
  const mirror = new Mirror();
  const text =
    '{"type":"sync","channel":"v","epoch":"e","from":0,"to":1,"ts":1,"reset":true,"event_count":0,"agents":' +
    '{"__proto__":{"set":{"__proto__":{"polluted":1},"constructor":2,"hasOwnProperty":3},"at":1}}}';
  mirror.apply(JSON.parse(text));
  const fields = mirror.get("__proto__");
  assert.equal({}.polluted, undefined);
  assert.equal(Object.getPrototypeOf(fields), null);
  assert.ok(Object.isFrozen(fields));
  assert.deepEqual(Object.keys(fields).sort(), ["__proto__", "constructor", "hasOwnProperty"]);
  mirror.apply(
    JSON.parse('{"epoch":"e","from":1,"to":2,"event_count":0,"agents":{"__proto__":{"unset":["__proto__"],"at":1}}}'),
  );
  assert.deepEqual(Object.keys(mirror.get("__proto__")).sort(), ["constructor", "hasOwnProperty"]);
  assert.equal(mirror.get("constructor"), undefined);
});

test("what was stored comes back, and rubbish does not", () => {
  const mirror = filled("a");
  mirror.apply(
    parsed({ from: 10, to: 10, more: true, urgent: true, event_count: 3, events: [{ offset: 15, agent_id: "a", update_type: "x", data: {}, timestamp: 1 }] }),
  );
  const saved = JSON.stringify(mirror.save());
  const other = new Mirror();
  assert.ok(other.restore(JSON.parse(saved)));
  assert.deepEqual(other.since(), mirror.since());
  assert.deepEqual({ ...other.get("a") }, { ...mirror.get("a") });
  assert.equal(other.isLive, false);
  const again = other.apply(parsed({ from: 10, to: 15, event_count: 4, events: [{ offset: 15, agent_id: "a", update_type: "x", data: {}, timestamp: 1 }] }));
  assert.equal(again.events.length, 0);
  assert.equal(again.missed, 0);
  const good = JSON.parse(saved);
  const wrong = [null, 1, "x", [], {}, { ...good, epoch: "" }, { ...good, offset: 0, eventCount: null }, { ...good, offset: 1.5 }];
  wrong.push({ ...good, agents: [["a"]] }, { ...good, agents: {} }, { ...good, urgent: [[1, 2]] }, { ...good, eventCount: "3" });
  for (const rubbish of wrong) assert.equal(new Mirror().restore(rubbish), false, JSON.stringify(rubbish));
});

test("clearing forgets all", () => {
  const mirror = filled("a");
  assert.deepEqual([...mirror.clear()], ["a"]);
  assert.equal(mirror.size, 0);
  assert.equal(mirror.since(), undefined);
});

test("equality of JSON is by value, of selections one level deep", () => {
  assert.ok(sameJson(JSON.parse('{"a":[1.0,{"b":null}],"c":-0}'), JSON.parse('{"c":0,"a":[1,{"b":null}]}')));
  for (const [a, b] of [["[]", "{}"], ["[1]", "[1,2]"], ['{"a":1}', '{"b":1}'], ["null", "{}"], ["1", "true"], ['{"a":null}', "{}"]]) {
    assert.ok(!sameJson(JSON.parse(a), JSON.parse(b)), `${a} ${b}`);
  }
  assert.ok(!sameJson(JSON.parse('{"__proto__":1}'), JSON.parse('{"x":1}')));
  assert.ok(shallowEqual({ a: 1 }, { a: 1 }));
  assert.ok(!shallowEqual({ a: {} }, { a: {} }));
  assert.ok(shallowEqual([1, 2], [1, 2]));
  assert.ok(!shallowEqual([1], { 0: 1 }));
  assert.ok(!shallowEqual(new Map(), new Map()));
});

test("a view is named as the server names it: unique fields by code points", () => {
  assert.equal(viewName(null), "");
  assert.equal(viewName(["y", "x", "y"]), "x,y");
  assert.equal(viewName(["\u{1f600}", "\uff5e"]), "\uff5e,\u{1f600}");
});

test("another view begins with a reset: what it has not goes at once, and a position says whose it is", () => {
  const mirror = new Mirror();
  mirror.apply(parsed({ from: 0, to: 10, reset: true, event_count: 0, agents: { a: { set: { x: 1, salary: 9 }, at: 1 }, b: { set: { x: 2 }, at: 1 } } }));
  assert.equal(mirror.apply(parsed({ from: 10, to: 11, view: "x", event_count: 0 })), null, "it did not begin");
  const b = mirror.get("b");
  const first = mirror.apply(parsed({ from: 0, to: 0, reset: true, more: true, view: "x,,no-events", event_count: 0 }));
  assert.deepEqual([...first.changed], ["a"]);
  assert.deepEqual({ ...mirror.get("a") }, { x: 1 }, "also while the snapshot comes");
  assert.equal(mirror.get("b"), b);
  mirror.apply(parsed({ from: 0, to: 12, view: "x,,no-events", event_count: 0, agents: { a: { set: { x: 3 }, at: 1 } } }));
  assert.deepEqual([...mirror.agents().keys()], ["a"]);
  assert.deepEqual(mirror.since(), { epoch: "e", offset: 12, view: "x,,no-events" });
  const again = new Mirror();
  assert.ok(again.restore(JSON.parse(JSON.stringify(mirror.save()))));
  assert.deepEqual(again.since(), mirror.since());
  mirror.apply(parsed({ from: 0, to: 13, reset: true, event_count: 5, agents: { a: { set: { x: 3, salary: 9 }, at: 1 } } }));
  assert.deepEqual({ ...mirror.get("a") }, { x: 3, salary: 9 });
  assert.equal(mirror.missed, 0, "what was not shown was not missed");
});
