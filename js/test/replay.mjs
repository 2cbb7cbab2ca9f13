/**
 * Reads histories, one JSON array of frames' texts a line, applies each with a mirror and prints where it ends, one JSON
 * object a line. Holds, at each frame, that `changed` names exactly the agents that are others now.
 */

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { sameJson } from "../dist/equal.js";
import { Mirror } from "../dist/mirror.js";

for await (const line of createInterface({ input: process.stdin })) {
  const mirror = new Mirror();
  const events = [];
  for (const text of JSON.parse(line)) {
    const before = mirror.agents();
    const applied = mirror.apply(JSON.parse(text));
    assert.notEqual(applied, null, "a frame needs another subscription");
    events.push(...applied.events);
    const after = mirror.agents();
    for (const agentId of new Set([...before.keys(), ...after.keys()])) {
      const isSame = before.get(agentId) === after.get(agentId);
      assert.equal(applied.changed.has(agentId), !isSame, `${agentId}: ${text}`);
      if (!isSame && before.has(agentId) && after.has(agentId)) {
        assert.ok(!sameJson(before.get(agentId), after.get(agentId)), `${agentId} changed to the same: ${text}`);
      }
    }
    const copy = new Mirror(); // a reload at any time goes on from the same
    const saved = mirror.save();
    if (saved !== null) {
      assert.ok(copy.restore(JSON.parse(JSON.stringify(saved))));
      assert.deepEqual(copy.since(), mirror.since());
      assert.ok([...mirror.agents()].every(([agentId, fields]) => sameJson(fields, copy.get(agentId))));
    }
  }
  const { epoch, position, missed, repaired, isLive } = mirror;
  // A list of pairs: an object could not hold an agent of any name.
  console.log(JSON.stringify({ epoch, position, missed, repaired, isLive, agents: [...mirror.agents()], events }));
}
assert.equal(Object.keys(Object.prototype).length, 0);
assert.equal({}.polluted, undefined);
