// What of the page needs no browser, run by Node: test_pure_modules.py copies the page's modules beside this file.
import assert from "node:assert/strict";

import { field, inner, list, number, text } from "./fields.js";
import { PRIORITIES, Samples, WINDOW_S, breakerStates } from "./samples.js";
import { bytes, duration, ms, rate, some } from "./words.js";

const metrics = (accepted, more = {}) => ({
  accepted,
  updates_per_second: 5,
  websocket_connections: 2,
  queue_depth: { critical: 0, high: 1, normal: 2, low: 3 },
  by_priority: Object.fromEntries(PRIORITIES.map((name) => [name, { p50_latency_ms: 1, p95_latency_ms: 2, p99_latency_ms: 0 }])),
  ...more,
});

const tests = {
  "a field that is not an object's own is missing"() {
    for (const name of ["constructor", "__proto__", "toString"]) {
      assert.equal(field({}, name), undefined);
      assert.equal(number({}, name, 7), 7);
      assert.equal(text({}, name, "none"), "none");
      assert.deepEqual(list({}, name), []);
      assert.equal(Object.keys(inner({}, name)).length, 0);
    }
    assert.deepEqual(field(JSON.parse('{"__proto__": 3}'), "__proto__"), 3);
    assert.equal(number({ a: "3" }, "a"), 0);
    assert.equal(number({ a: NaN }, "a"), 0);
    assert.equal(text({ a: null }, "a", "-"), "-");
    assert.equal(field(null, "a"), undefined);
  },

  "samples are kept for the window only, and columns stay of one length"() {
    const samples = new Samples();
    for (let second = 0; second < 3 * WINDOW_S; second += 1) samples.add(1000 + second, metrics(second * 3), 1);
    const times = samples.column("time");
    assert.ok(times.length <= WINDOW_S + 4, String(times.length));
    assert.equal(times.at(-1), 1000 + 3 * WINDOW_S - 1);
    for (const name of ["delivered", "queued", "behind", "depth low", "p99 high"]) assert.equal(samples.column(name).length, times.length);
    assert.deepEqual(samples.span(), [times.at(-1) - WINDOW_S, times.at(-1)]);
    assert.equal(samples.column("queued").at(-1), 3);
    assert.equal(samples.column("depth low").at(-1), 3);
  },

  "what was not measured is no line at the floor"() {
    const samples = new Samples();
    samples.add(1, metrics(1), 0);
    assert.equal(samples.column("p99 normal").at(-1), null);
    assert.equal(samples.column("p50 normal").at(-1), 1);
  },

  "a hole breaks the lines, a restart gives no rate, and time never goes back"() {
    const samples = new Samples();
    samples.add(100, metrics(10), 0);
    samples.add(101, metrics(20), 0);
    samples.add(130, metrics(5), 0);
    samples.add(129, metrics(6), 0);
    assert.equal(samples.column("time").at(-1), 130);
    assert.deepEqual(samples.column("queued"), [null, 10, null, null]);
    assert.deepEqual(samples.column("delivered"), [5, 5, null, 5]);
  },

  "it begins with the server's history, whatever else was there"() {
    const samples = new Samples();
    samples.add(1, metrics(1), 0);
    const history = { samples: { timestamp: [10, 11], updates_per_second: [3, 4], accepted: [7, 9], "low.queue_depth": [1, "x"], circuit_breaker_state: ["closed", "open"] } };
    samples.begin(history);
    assert.deepEqual(samples.column("time"), [10, 11]);
    assert.deepEqual(samples.column("queued"), [null, 2]);
    assert.deepEqual(samples.column("depth low"), [1, null]);
    assert.deepEqual(samples.column("connections"), [null, null]);
    assert.deepEqual(breakerStates(history), [[10, "closed"], [11, "open"]]);
    assert.deepEqual(samples.span(), [11 - 60, 11]);
    samples.begin({});
    assert.equal(samples.length, 0);
  },

  "numbers and times read well"() {
    assert.deepEqual([0, 59.4, 60, 83, 600, 3700, 7200, 200000].map(duration), ["0 s", "59 s", "1 min", "1 min 23 s", "10 min", "1 h 1 min", "2 h", "2 d"]);
    assert.deepEqual([0.123, 4.25, 42.4, 4144].map(ms), ["0.12", "4.3", "42", "4,144"]);
    assert.deepEqual([3.14, 1240.2].map(rate), ["3.1", "1,240"]);
    assert.deepEqual([312, 4200, 1300000].map(bytes), ["312 B", "4.2 KB", "1.3 MB"]);
    assert.deepEqual([some(1, "letter"), some(1200, "letter")], ["1 letter", "1,200 letters"]);
  },
};

for (const [name, run] of Object.entries(tests)) {
  run();
  console.log(`ok: ${name}`);
}
