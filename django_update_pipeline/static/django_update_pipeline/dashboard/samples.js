/** What the charts draw: a sample a second of the last minutes as columns, oldest first. Bounded. */

import { field, inner, list, number } from "./fields.js";

export const WINDOW_S = 300;
const LEAST_S = 60;
const RATE_SAMPLES = 10;
export const PRIORITIES = ["critical", "high", "normal", "low"];
export const PERCENTILES = ["p50", "p95", "p99"];

/** Our columns to those of the server's history. */
const COLUMNS = new Map([
  ["time", "timestamp"],
  ["delivered", "updates_per_second"],
  ["accepted total", "accepted"],
  ["connections", "websocket_connections"],
  ["behind", "behind"],
  ...PRIORITIES.map((priority) => [`depth ${priority}`, `${priority}.queue_depth`]),
  ...PRIORITIES.flatMap((priority) => PERCENTILES.map((one) => [`${one} ${priority}`, `${priority}.${one}_latency_ms`])),
]);

export class Samples {
  #columns = new Map([...COLUMNS.keys(), "queued"].map((name) => [name, []]));

  column(name) {
    return this.#columns.get(name);
  }

  /** What is drawn, as [from, to]: the last minutes, or since the server began to take samples, but one minute at least. */
  span() {
    const times = this.column("time");
    const to = times.at(-1) ?? Date.now() / 1000;
    return [to - Math.min(WINDOW_S, Math.max(LEAST_S, to - (times[0] ?? to))), to];
  }

  get length() {
    return this.column("time").length;
  }

  /** Begins anew with what the server remembers: it knows the time before this page, and while the line was cut. */
  begin(history) {
    for (const values of this.#columns.values()) values.length = 0;
    const samples = inner(history, "samples");
    const columns = new Map([...COLUMNS].map(([name, theirs]) => [name, list(samples, theirs)]));
    columns.get("time").forEach((time, place) => {
      if (typeof time === "number") this.#push(new Map([...columns].map(([name, values]) => [name, values[place]])));
    });
  }

  /** Adds a report of metrics of a time of the server (Unix seconds). */
  add(time, metrics, behind) {
    const row = new Map([
      ["time", time],
      ["delivered", number(metrics, "updates_per_second")],
      ["accepted total", number(metrics, "accepted")],
      ["connections", number(metrics, "websocket_connections")],
      ["behind", behind],
    ]);
    for (const priority of PRIORITIES) {
      row.set(`depth ${priority}`, number(inner(metrics, "queue_depth"), priority));
      const latency = inner(inner(metrics, "by_priority"), priority);
      for (const one of PERCENTILES) row.set(`${one} ${priority}`, number(latency, `${one}_latency_ms`));
    }
    this.#push(row);
  }

  #push(row) {
    const times = this.column("time");
    const last = times.at(-1);
    const time = row.get("time");
    if (last !== undefined && time <= last) return; // The server's history and its reports overlap by a moment.
    if (last !== undefined && time - last > 10) this.#append(new Map([["time", last + 0.001]])); // A hole is no line.
    row.set("queued", this.#queued(time, row.get("accepted total")));
    // 0 says that nothing was measured: a line at the floor would say that it was quick.
    for (const [name, value] of row) if (name[0] === "p" && value === 0) row.set(name, null);
    this.#append(row);
    const from = time - WINDOW_S - 2;
    let old = 0;
    while (times[old] < from) old += 1;
    if (old > 0) for (const values of this.#columns.values()) values.splice(0, old);
  }

  /** Updates accepted a second over the last samples, as many as the server's rate spans; none over a hole or restart. */
  #queued(time, total) {
    if (typeof total !== "number") return null;
    const totals = this.column("accepted total");
    let first = totals.length;
    let next = total;
    while (first > 0 && totals.length - first < RATE_SAMPLES) {
      const before = totals[first - 1];
      if (before === null || before > next) break;
      next = before;
      first -= 1;
    }
    return first === totals.length ? null : (total - next) / (time - this.column("time")[first]);
  }

  #append(row) {
    for (const [name, values] of this.#columns) {
      const value = row.get(name);
      values.push(typeof value === "number" && Number.isFinite(value) ? value : null);
    }
  }
}

/** The breaker's state in each sample of a history, as [time, state]. */
export function breakerStates(history) {
  const samples = inner(history, "samples");
  const states = list(samples, "circuit_breaker_state");
  return list(samples, "timestamp").map((time, place) => [time, field(states, place)]);
}
