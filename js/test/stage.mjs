/** A clock that stands until it is moved, dice that are known, and lines whose other end is the test. */

import { Client } from "../dist/client.js";

export class Around {
  constructor() {
    this.time = 1000;
    this.dice = 0.5;
    this.timers = [];
    this.errors = [];
    this.calls = new Set();
  }
  now = () => this.time;
  random = () => this.dice;
  later = (call, ms) => {
    const timer = { call, at: this.time + ms };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((one) => one !== timer);
    };
  };
  listen = (call) => {
    this.calls.add(call);
    return () => this.calls.delete(call);
  };
  report = (error) => this.errors.push(error);

  /** Moves the clock; what is due is called at its time, in order. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await settled();
      const due = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.time = Math.max(this.time, due.at);
      this.timers = this.timers.filter((one) => one !== due);
      due.call();
    }
    this.time = end;
    await settled();
  }
  tell(what) {
    for (const call of this.calls) call(what);
  }
}

export const settled = () => new Promise((resolve) => setImmediate(resolve));

class ScriptedLine {
  constructor(handlers) {
    this.handlers = handlers;
    this.sent = [];
    this.isClosed = false;
  }
  send = (text) => this.sent.push(JSON.parse(text));
  close = () => {
    this.isClosed = true;
  };
  say(...frames) {
    for (const frame of frames) this.handlers.message(typeof frame === "string" ? frame : JSON.stringify(frame));
  }
  greet(serverTime = 5000) {
    this.say({ type: "connection_established", connection_id: "c1", timestamp: serverTime });
  }
  confirm(...channels) {
    this.say({ type: "subscription_confirmed", channels });
  }
  drop(code = 1006, reason = "") {
    this.handlers.closed(code, reason);
  }
  /** What was sent of a type, without the type. */
  all(type) {
    return this.sent.filter((frame) => frame.type === type).map(({ type: _, ...rest }) => rest);
  }
}

/** A client whose lines are scripted; `lines` has each it opened. */
export function staged(options = {}) {
  const around = new Around();
  const lines = [];
  const transport = {
    open(handlers) {
      const line = new ScriptedLine(handlers);
      lines.push(line);
      return line;
    },
  };
  const client = new Client("/ws/updates/", { transport, surroundings: around, ...options });
  return {
    client,
    around,
    lines,
    get line() {
      return lines.at(-1);
    },
  };
}

/** A frame of the channel `villa`, epoch `e`. */
export const sync = (frame) => ({ type: "sync", channel: "villa", epoch: "e", from: 0, ts: 5000, event_count: 0, ...frame });

/** A whole snapshot: agents by id, each with its fields. */
export const snapshot = (to, agents, more = {}) =>
  sync({
    from: 0,
    to,
    reset: true,
    agents: Object.fromEntries(Object.entries(agents).map(([agentId, set]) => [agentId, { set, at: 4999 }])),
    ...more,
  });

export class Drawer {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, value);
  removeItem = (key) => void this.items.delete(key);
}
