// Built from js/src by js/example.mjs; do not edit. The sources have the comments.


// src/react.ts
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore
} from "./react.js";

// src/errors.ts
var ActionError = class extends Error {
  /**
   * `code` is the server's (`forbidden`, `action_refused`, ...) or ours: `no_answer` (none in time), `connection_lost`
   * (it was sent, and nobody knows whether it was done), `client_closed`.
   */
  constructor(code, message) {
    super(message);
    this.code = code;
    this.name = "ActionError";
  }
  code;
};

// src/actions.ts
var Actions = class {
  constructor(around, send) {
    this.around = around;
    this.send = send;
  }
  around;
  send;
  #next = 1;
  #waiting = /* @__PURE__ */ new Map();
  /** Sends an action, once there is a line; the promise ends with its answer, and at the latest after `withinMs`. */
  act(agentId, action, params, withinMs) {
    const id = this.#next++;
    const frame = { type: "agent_action", agent_id: agentId, action, params, id };
    return new Promise((resolve, reject) => {
      const stop = this.around.later(() => {
        const { isSent } = waiting;
        const text = isSent ? "was not answered in time; it may have been done" : "was not sent: there was no line";
        waiting.reject(new ActionError("no_answer", `${action} ${text}`));
      }, withinMs);
      const end = (how) => {
        stop();
        if (this.#waiting.delete(id)) how();
      };
      const waiting = {
        frame,
        isSent: false,
        resolve: () => end(resolve),
        reject: (error) => end(() => reject(error))
      };
      this.#waiting.set(id, waiting);
      waiting.isSent = this.send(frame);
    });
  }
  /** A line is open: what waited for one is sent. */
  lineOpened() {
    for (const waiting of this.#waiting.values()) waiting.isSent ||= this.send(waiting.frame);
  }
  /** An answer came; false if it is none of ours. */
  answered(frame) {
    const waiting = typeof frame.id === "number" ? this.#waiting.get(frame.id) : void 0;
    if (waiting === void 0) return false;
    if (frame.type === "action_queued") waiting.resolve();
    else waiting.reject(new ActionError(String(frame.code), String(frame.message)));
    return true;
  }
  /** The line is gone: what was sent over it may have been done or not, so it is not sent again. */
  lineLost() {
    for (const waiting of this.#waiting.values()) {
      if (waiting.isSent) waiting.reject(new ActionError("connection_lost", "the line broke before an answer came"));
    }
  }
  close() {
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new ActionError("client_closed", "the client was closed before an answer came"));
    }
  }
};

// src/frames.ts
function utf8Length(text) {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 128) continue;
    bytes += unit < 2048 || unit >= 55296 && unit < 57344 ? 1 : 2;
  }
  return bytes;
}
function viewName(fields) {
  return fields === null ? "" : [...new Set(fields)].sort(byCodePoint).join(",");
}
var MAX_FIELD_CHARS = 100;
var NO_FIELD = /^(?:|__proto__|constructor|prototype)$|[\u0000-\u001f\u007f-\u009f\p{Surrogate},]/u;
function isFieldName(name) {
  return !NO_FIELD.test(name) && [...name].length <= MAX_FIELD_CHARS;
}
var NO_EVENTS = ",,no-events";
function shownIn(view) {
  const hasEvents = !view.endsWith(NO_EVENTS);
  const names = hasEvents ? view : view.slice(0, -NO_EVENTS.length);
  return { fields: names === "" ? null : names.split(","), hasEvents };
}
function byCodePoint(a, b) {
  const left = [...a];
  const right = [...b];
  for (let at = 0; at < left.length && at < right.length; at++) {
    const difference = left[at].codePointAt(0) - right[at].codePointAt(0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

// src/listeners.ts
var Listeners = class {
  constructor(report) {
    this.report = report;
  }
  report;
  #calls = /* @__PURE__ */ new Set();
  get size() {
    return this.#calls.size;
  }
  /** Adds a callback; returns what takes it off. */
  add(call) {
    const entry = { call };
    this.#calls.add(entry);
    return () => {
      this.#calls.delete(entry);
    };
  }
  tell(value) {
    for (const entry of [...this.#calls]) {
      if (!this.#calls.has(entry)) continue;
      try {
        entry.call(value);
      } catch (error) {
        this.report(error);
      }
    }
  }
};

// src/equal.ts
var has = Object.prototype.hasOwnProperty;
function sameJson(a, b) {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, at) => sameJson(item, b[at]));
  }
  return sameEntries(a, b, sameJson);
}
function shallowEqual(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (!Array.isArray(a) && ![null, Object.prototype].includes(Object.getPrototypeOf(a))) return false;
  return sameEntries(a, b, Object.is);
}
function sameEntries(a, b, same) {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  const left = a;
  const right = b;
  return names.every((name) => has.call(right, name) && same(left[name], right[name]));
}

// src/mirror.ts
var NO_FIELDS = Object.freeze(/* @__PURE__ */ Object.create(null));
var Mirror = class {
  epoch = "";
  /** The name of the view that is shown: what the server said last. */
  view = "";
  position = 0;
  missed = 0;
  repaired = 0;
  /** Whether all there was to tell, when the last frame was made, has been told. */
  isLive = false;
  #shown = /* @__PURE__ */ new Map();
  #gathered = null;
  // a snapshot that is not complete
  #eventCount = null;
  // how many events the channel had at `position`
  #urgent = /* @__PURE__ */ new Map();
  // by agent: the last event that came before its turn
  /** How many agents are shown. */
  get size() {
    return this.#shown.size;
  }
  /** An agent's fields: the same object for as long as nothing in it changes. */
  get(agentId) {
    return this.#shown.get(agentId)?.fields;
  }
  /** When an agent's last change was queued, in Unix seconds. */
  changedAt(agentId) {
    return this.#shown.get(agentId)?.at;
  }
  /** The agents shown now, as a map of its own. */
  agents() {
    return new Map(Array.from(this.#shown, ([agentId, { fields }]) => [agentId, fields]));
  }
  /** The position to come back with; undefined: everything is wanted. */
  since() {
    if (this.epoch === "" || this.position === 0 && this.#eventCount === null) return void 0;
    return { epoch: this.epoch, offset: this.position, view: this.view };
  }
  /** Applies a frame; null: it begins after this position, so subscribe again with `since()`. */
  apply(frame) {
    const view = frame.view ?? "";
    const before = /* @__PURE__ */ new Map();
    if (frame.reset) {
      this.#forget();
      if (frame.epoch !== this.epoch) this.#urgent.clear();
      if (view !== this.view) this.#narrow(shownIn(view).fields, before);
      this.epoch = frame.epoch;
      this.view = view;
      this.#gathered = this.#shown.size > 0 ? /* @__PURE__ */ new Map() : null;
    } else if (frame.epoch !== this.epoch || view !== this.view || frame.from > this.position) {
      return null;
    }
    this.#applyState(frame, before);
    const { events, fresh } = this.#takeEvents(frame);
    this.isLive = !frame.more;
    if (this.isLive) this.#swap(before);
    let missed = 0;
    if (frame.to > this.position || this.isLive && this.#eventCount === null) {
      if (this.#eventCount !== null) missed = Math.max(0, frame.event_count - this.#eventCount - fresh);
      this.#eventCount = frame.event_count;
      this.position = frame.to;
      for (const [agentId, at] of this.#urgent) if (at <= this.position) this.#urgent.delete(agentId);
    }
    const repaired = frame.check === void 0 ? 0 : this.#compare(frame.check, before);
    this.missed += missed;
    this.repaired += repaired;
    const changed = /* @__PURE__ */ new Set();
    for (const [agentId, fields] of before) if (this.get(agentId) !== fields) changed.add(agentId);
    return { changed, events, missed, repaired };
  }
  /** Forgets everything, as where the right to see it ended. The agents that were shown are returned. */
  clear() {
    const gone = new Set(this.#shown.keys());
    this.#forget();
    this.#urgent.clear();
    this.epoch = "";
    this.isLive = false;
    this.#shown.clear();
    this.#gathered = null;
    return gone;
  }
  /** What is shown, as the one frame that would tell it to somebody new. */
  asSnapshot() {
    const agents = Array.from(this.#shown, ([agentId, { fields, at }]) => [agentId, { set: fields, at }]);
    const ts = Math.max(0, ...agents.map(([, { at }]) => at));
    const { epoch, position: to } = this;
    return { epoch, from: 0, to, ts, reset: true, agents: Object.fromEntries(agents), event_count: this.#eventCount ?? 0 };
  }
  /** What a reload needs to go on from here; null while there is nothing to go on from. */
  save() {
    if (this.since() === void 0 || this.#gathered !== null) return null;
    return {
      epoch: this.epoch,
      view: this.view,
      offset: this.position,
      eventCount: this.#eventCount,
      urgent: [...this.#urgent],
      agents: Array.from(this.#shown, ([agentId, { fields, at }]) => [agentId, fields, at])
    };
  }
  /** Takes what `save()` made; what else it is given (it was stored where others can write) is refused with false. */
  restore(saved) {
    if (!isSaved(saved)) return false;
    this.clear();
    this.epoch = saved.epoch;
    this.view = saved.view;
    this.position = saved.offset;
    this.#eventCount = saved.eventCount;
    this.#urgent = new Map(saved.urgent);
    for (const [agentId, fields, at] of saved.agents) {
      this.#shown.set(agentId, { fields: merged(NO_FIELDS, fields, []), at });
    }
    return true;
  }
  #forget() {
    this.position = 0;
    this.#eventCount = null;
  }
  /** What may not be seen any more is shown no longer, also while a snapshot comes. */
  #narrow(names, before) {
    if (names === null) return;
    for (const [agentId, { fields, at }] of this.#shown) {
      const gone = Object.keys(fields).filter((name) => !names.includes(name));
      if (gone.length === 0) continue;
      this.#note(agentId, before);
      this.#shown.set(agentId, { fields: merged(fields, {}, gone), at });
    }
  }
  #applyState(frame, before) {
    const agents = this.#gathered ?? this.#shown;
    const isSeen = agents === this.#shown || frame.urgent === true;
    for (const agentId of frame.removed ?? []) {
      if (isSeen) this.#note(agentId, before);
      agents.delete(agentId);
      if (isSeen) this.#shown.delete(agentId);
    }
    for (const [agentId, change] of Object.entries(frame.agents ?? {})) {
      if (isSeen) this.#note(agentId, before);
      const old = agents.get(agentId)?.fields;
      const fields = merged(old ?? NO_FIELDS, change.set ?? {}, change.unset ?? []);
      const known = [before.get(agentId) ?? this.get(agentId), old];
      const entry = { fields: known.find((one) => one !== void 0 && sameJson(one, fields)) ?? fields, at: change.at };
      agents.set(agentId, entry);
      if (isSeen) this.#shown.set(agentId, entry);
    }
  }
  /** Keeps what an agent was before the first change of a frame. */
  #note(agentId, before) {
    if (!before.has(agentId)) before.set(agentId, this.get(agentId));
  }
  /** A complete snapshot takes the place of what was shown. */
  #swap(before) {
    if (this.#gathered === null) return;
    for (const agents of [this.#shown, this.#gathered]) for (const agentId of agents.keys()) this.#note(agentId, before);
    this.#shown = this.#gathered;
    this.#gathered = null;
  }
  #takeEvents(frame) {
    const events = [];
    let fresh = 0;
    for (const event of frame.events ?? []) {
      if (event.offset <= this.position) continue;
      fresh++;
      if (event.offset > (this.#urgent.get(event.agent_id) ?? 0)) {
        events.push(event);
        if (frame.urgent) this.#urgent.set(event.agent_id, event.offset);
      }
    }
    return { events, fresh };
  }
  /** Compares with agents that came whole, and repairs what differs: it should never differ. */
  #compare(check, before) {
    let repaired = 0;
    for (const [agentId, whole2] of Object.entries(check.agents)) {
      const mine = this.#shown.get(agentId);
      if (mine !== void 0 && sameJson(mine.fields, whole2)) continue;
      this.#note(agentId, before);
      this.#shown.set(agentId, { fields: merged(NO_FIELDS, whole2, []), at: mine?.at ?? 0 });
      repaired++;
    }
    if (this.#shown.size !== check.count) {
      repaired++;
      this.epoch = "";
    }
    return repaired;
  }
};
function merged(old, set, unset) {
  const fields = /* @__PURE__ */ Object.create(null);
  for (const name of Object.keys(old)) fields[name] = old[name];
  for (const name of unset) delete fields[name];
  for (const name of Object.keys(set)) {
    const value = set[name];
    if (!(name in fields && sameJson(fields[name], value))) fields[name] = value;
  }
  return Object.freeze(fields);
}
function isSaved(saved) {
  if (!isObject(saved)) return false;
  const { epoch, view, offset, eventCount, urgent, agents } = saved;
  return typeof epoch === "string" && epoch !== "" && typeof view === "string" && isOffset(offset) && (eventCount === null ? offset > 0 : isOffset(eventCount)) && isListOf(urgent, ([agentId, at]) => typeof agentId === "string" && isOffset(at)) && isListOf(
    agents,
    ([agentId, fields, at]) => typeof agentId === "string" && isObject(fields) && typeof at === "number"
  );
}
function isListOf(list, holds) {
  return Array.isArray(list) && list.every((row) => Array.isArray(row) && holds(row));
}
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function isOffset(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

// src/channel.ts
var MAX_FIELDS = 100;
var NOTHING = { frames: 0, bytes: 0, agents: 0, fields: 0, events: 0, isReset: false };
var Channel = class {
  constructor(name, report) {
    this.name = name;
    this.report = report;
    this.events = new Listeners(report);
    this.statuses = new Listeners(report);
    this.changes = new Listeners(report);
    this.frames = new Listeners(report);
  }
  name;
  report;
  mirror = new Mirror();
  events;
  statuses;
  changes;
  frames;
  status = "loading";
  /** Whether this line's server was asked for it. */
  isAsked = false;
  /** Subscriptions that the server has not answered yet. */
  unanswered = 0;
  /** Nothing was read for a while: it is live again once the server has answered from here. */
  #isBehind = false;
  #users = /* @__PURE__ */ new Map();
  #fields = null;
  #impossible = /* @__PURE__ */ new Set();
  // names that were asked for and that no field has in a projection
  #refusedView = null;
  #byAgent = /* @__PURE__ */ new Map();
  #snapshot = null;
  #catchUp = NOTHING;
  /** What its users want of each agent, together; null: everything. */
  get fields() {
    return this.#fields;
  }
  /** The name of the view that is asked for; the server may show another one. */
  get view() {
    return viewName(this.#fields);
  }
  /** Whether the server can't be asked for it: it would refuse, however often it is asked. */
  get isImpossible() {
    return this.#fields?.length === 0 || this.#refusedView === this.view;
  }
  get hasUsers() {
    return this.#users.size > 0;
  }
  /**
   * Adds a user; true if the view is another one now, so that the server has to be asked again. A name that no
   * projection may have is left out: it would cost all the others theirs.
   */
  join(user, fields) {
    this.#users.set(user, fields?.filter(isFieldName) ?? null);
    return this.#widen();
  }
  /** Those of the names that no projection may have, each once in this channel's life. */
  impossibleOf(fields) {
    const found = [...new Set(fields)].filter((name) => !isFieldName(name) && !this.#impossible.has(name));
    for (const name of found) this.#impossible.add(name);
    return found;
  }
  /** Takes a user off. The view stays as wide as it was: a narrower one would have to be sent anew. */
  leave(user) {
    this.#users.delete(user);
  }
  #widen() {
    const before = this.view;
    const wanted = [...this.#users.values()];
    const isFirst = wanted.length === 1 && this.status === "loading" && !this.isAsked;
    if (wanted.includes(null)) this.#fields = null;
    else if (isFirst) this.#fields = [...new Set(wanted.flatMap((fields) => fields ?? []))];
    else if (this.#fields !== null) this.#fields = [.../* @__PURE__ */ new Set([...this.#fields, ...wanted.flatMap((f) => f ?? [])])];
    if (this.#fields !== null && this.#fields.length > MAX_FIELDS) this.#fields = null;
    if (this.view === before) return false;
    this.mirror.epoch = "";
    return true;
  }
  /** Whether what comes is of an earlier subscription: all was asked for anew, and the answer comes before its frames. */
  get isOfBefore() {
    return this.unanswered > 0 && this.mirror.since() === void 0;
  }
  /** The position to subscribe with. */
  since() {
    return this.mirror.since();
  }
  /** The server is being asked. */
  asked() {
    this.isAsked = true;
    this.unanswered++;
    if (!this.#isBehind) this.#catchUp = NOTHING;
    if (this.status !== "loading") this.#become(this.#hasSomething ? "stale" : "loading");
  }
  /** The server has confirmed or refused what it was asked: the frames that come now are the answer. */
  answered() {
    this.unanswered = Math.max(0, this.unanswered - 1);
    if (this.unanswered === 0) this.#isBehind = false;
  }
  /** Nothing is read any more, so what is shown is what the server had. */
  paused() {
    this.#isBehind = this.isAsked;
    if (this.status === "live") this.#become("stale");
  }
  /** The line is gone. */
  lineLost() {
    this.isAsked = false;
    this.unanswered = 0;
    this.#isBehind = false;
    if (this.status === "live") this.#become("stale");
  }
  /** The server can't show this view: it is not asked for again until it is another one. */
  cannotBe() {
    this.#refusedView = this.view;
    this.refuse();
  }
  /** It may not be seen (any more): nothing is shown. */
  refuse() {
    this.isAsked = false;
    this.#catchUp = NOTHING;
    this.#tell(this.mirror.clear(), "refused", []);
  }
  close() {
    this.#become("closed");
  }
  /** Shows what was stored, until the server says what has changed since. */
  restore(saved) {
    const isGood = this.mirror.restore(saved);
    if (isGood) this.#become("stale");
    return isGood;
  }
  /** Applies a frame of so many bytes; null: it begins after what is known here. `serverTime` is in Unix seconds. */
  take(frame, bytes, serverTime = () => null) {
    const applied = this.mirror.apply(frame);
    if (applied === null) return null;
    const wasLive = this.status === "live";
    const received = receivedOf(frame, bytes);
    if (!wasLive) this.#count(received, frame.reset === true);
    const isLost = this.mirror.since() === void 0 && applied.repaired > 0;
    const isLive = this.mirror.isLive && !isLost && !this.#isBehind;
    this.#tell(
      applied.changed,
      isLive ? "live" : this.status === "loading" ? "loading" : "stale",
      applied.events,
      applied.missed > 0
    );
    const ageMs = ageOf(frame, serverTime());
    const saysHowLong = wasLive && isLive && !frame.reset;
    if (this.frames.size > 0) this.frames.tell({ ...received, ageMs: saysHowLong ? ageMs : null });
    return { repaired: applied.repaired, ageMs, isLost };
  }
  /** How long a snapshot of what is shown would be as the server's frame, in bytes. Costs as much as making one. */
  snapshotBytes() {
    const view = this.mirror.view === "" ? {} : { view: this.mirror.view };
    return utf8Length(JSON.stringify({ type: "sync", channel: this.name, ...view, ...this.mirror.asSnapshot() }));
  }
  get snapshot() {
    this.#snapshot ??= { agents: this.mirror.agents(), status: this.status, missed: this.mirror.missed };
    return this.#snapshot;
  }
  /** Calls back when one agent changes, comes or goes. */
  onAgent(agentId, call) {
    const listeners = this.#byAgent.get(agentId) ?? new Listeners(this.report);
    this.#byAgent.set(agentId, listeners);
    const off = listeners.add(call);
    return () => {
      off();
      if (listeners.size === 0 && this.#byAgent.get(agentId) === listeners) this.#byAgent.delete(agentId);
    };
  }
  get #hasSomething() {
    return this.mirror.size > 0 || this.mirror.since() !== void 0;
  }
  #count({ bytes, agents, fields, events }, isReset) {
    const before = isReset ? NOTHING : this.#catchUp;
    this.#catchUp = {
      frames: before.frames + 1,
      bytes: before.bytes + bytes,
      agents: before.agents + agents.length,
      fields: before.fields + fields,
      events: before.events + events,
      isReset: before.isReset || isReset
    };
  }
  #become(status) {
    this.#tell(/* @__PURE__ */ new Set(), status, []);
  }
  /** State first, then events, then what it is worth: never an event before the state that it came after. */
  #tell(changed, status, events, isOther = false) {
    const before = this.status;
    const catchUp = this.#catchUp;
    this.status = status;
    if (status === "live") this.#catchUp = NOTHING;
    if (changed.size > 0 || status !== before || isOther) {
      this.#snapshot = null;
      for (const agentId of changed) this.#byAgent.get(agentId)?.tell();
      this.changes.tell();
    }
    for (const event of events) this.events.tell(event);
    if (status !== before) this.statuses.tell({ status, before, catchUp: status === "live" ? catchUp : null });
  }
};
function receivedOf(frame, bytes) {
  let fields = 0;
  for (const { set, unset } of Object.values(frame.agents ?? {})) {
    fields += Object.keys(set ?? {}).length + (unset?.length ?? 0);
  }
  const agents = [.../* @__PURE__ */ new Set([...frame.removed ?? [], ...Object.keys(frame.agents ?? {})])];
  return { bytes, agents, fields, events: frame.events?.length ?? 0 };
}
function ageOf(frame, serverTime) {
  let oldest = Infinity;
  for (const { at } of Object.values(frame.agents ?? {})) oldest = Math.min(oldest, at);
  for (const { timestamp } of frame.events ?? []) oldest = Math.min(oldest, timestamp);
  return oldest === Infinity || serverTime === null ? null : Math.max(0, (serverTime - oldest) * 1e3);
}

// src/storage.ts
var VERSION = 1;
var Shelf = class {
  constructor(storage, owner) {
    this.storage = storage;
    this.owner = owner;
  }
  storage;
  owner;
  load(channel, view) {
    try {
      const text = this.storage?.getItem(this.#key(channel, view)) ?? null;
      const kept = text === null ? null : JSON.parse(text);
      if (typeof kept !== "object" || kept === null || !("version" in kept) || !("saved" in kept)) return null;
      return kept.version === VERSION ? kept.saved : null;
    } catch {
      return null;
    }
  }
  save(channel, view, saved) {
    try {
      this.storage?.setItem(this.#key(channel, view), JSON.stringify({ version: VERSION, saved }));
    } catch {
      this.remove(channel, view);
    }
  }
  remove(channel, view) {
    try {
      this.storage?.removeItem(this.#key(channel, view));
    } catch {
    }
  }
  #key(channel, view) {
    return `update-pipeline ${JSON.stringify([this.owner, channel, view])}`;
  }
};

// src/keeping.ts
var KEEP_EVERY_MS = 5e3;
var Keeping = class {
  /** `owner`: whose copies they are. Without a storage nothing is kept. */
  constructor(storage, owner, around) {
    this.storage = storage;
    this.around = around;
    this.#shelf = new Shelf(storage, owner);
  }
  storage;
  around;
  #shelf;
  #changed = /* @__PURE__ */ new Set();
  // since they were kept
  #stop = null;
  /** Shows what was kept of a channel, if it can be believed. */
  restore(channel) {
    if (channel.restore(this.#shelf.load(channel.name, channel.view)) === false) this.remove(channel);
  }
  /** Something of it is shown that is not kept yet. */
  changed(channel) {
    if (this.storage === void 0) return;
    this.#changed.add(channel);
    this.#stop ??= this.around.later(() => this.keep(), KEEP_EVERY_MS);
  }
  /** Keeps all that has changed. */
  keep() {
    this.#stop?.();
    this.#stop = null;
    for (const channel of this.#changed) this.#keepOne(channel);
    this.#changed.clear();
  }
  /** Nobody uses it any more: it is kept for the next who does. */
  left(channel) {
    this.#keepOne(channel);
    this.#changed.delete(channel);
  }
  /** It may not be shown any more, and so not kept. */
  forget(channel) {
    this.remove(channel);
    this.#changed.delete(channel);
  }
  /** What is kept of it is out of date. */
  remove(channel) {
    this.#shelf.remove(channel.name, channel.view);
  }
  #keepOne(channel) {
    if (this.storage === void 0 || channel.status === "refused") return;
    const saved = channel.mirror.save();
    if (saved !== null) this.#shelf.save(channel.name, channel.view, saved);
  }
};

// src/close-codes.ts
var CLOSE_CODES = /* @__PURE__ */ new Map([
  [4001, { name: "session_ended", reconnect: false }],
  [4002, { name: "closed_by_operator", reconnect: true }],
  [4008, { name: "rate_limited", reconnect: true }],
  [4009, { name: "client_silent", reconnect: true }],
  [4010, { name: "server_stopping", reconnect: true }],
  [4011, { name: "internal_error", reconnect: true }],
  [4012, { name: "too_slow", reconnect: true }],
  [4400, { name: "bad_request", reconnect: false }],
  [4401, { name: "login_required", reconnect: false }],
  [4403, { name: "forbidden", reconnect: false }],
  [4404, { name: "unknown_path", reconnect: false }],
  [4429, { name: "too_many_connections", reconnect: true }],
  [4430, { name: "too_many_of_user", reconnect: true }],
  [4431, { name: "too_many_from_address", reconnect: true }]
]);

// src/line.ts
var LINE_DEFAULTS = {
  backoffBaseMs: 500,
  backoffCapMs: 2e4,
  pingEveryMs: 15e3,
  answerWithinMs: 1e4
};
var STEADY_MS = 5e3;
var UNREAD_CHARS = 1e6;
var FIRST = { state: "connecting", code: 0, reason: "", retryInMs: 0 };
var LineKeeper = class {
  constructor(transport, options, clock, around, owner) {
    this.transport = transport;
    this.options = options;
    this.clock = clock;
    this.around = around;
    this.owner = owner;
  }
  transport;
  options;
  clock;
  around;
  owner;
  status = FIRST;
  #line = null;
  #attempt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #unread = null;
  // while it is paused: what has come
  #unreadChars = 0;
  #isOwed = false;
  // the line broke while it was paused
  #timers = /* @__PURE__ */ new Map();
  get isOpen() {
    return this.status.state === "open";
  }
  get isPaused() {
    return this.#unread !== null;
  }
  /** Reads nothing, asks nothing and opens nothing until `resume`. */
  pause() {
    if (this.#unread !== null) return;
    this.#unread = [];
    this.#unreadChars = 0;
    this.#isOwed = this.status.state === "waiting";
    this.#stopTimers();
  }
  resume() {
    const unread = this.#unread;
    if (unread === null) return;
    this.#unread = null;
    const line = this.#line;
    if (line === null) {
      if (this.#isOwed) this.connect();
      return;
    }
    const wasOpen = this.isOpen;
    if (!wasOpen) this.#awaitGreeting();
    for (const text of unread) this.#message(line, text);
    if (wasOpen && this.#line === line && !this.isPaused) this.#begin();
  }
  /** Opens a line now, also where it had ended for good. */
  connect() {
    if (this.#line !== null) return;
    this.#stopTimers();
    this.clock.reset();
    this.#set({ ...FIRST });
    if (this.status.state !== "connecting" || this.#line !== null) return;
    const line = this.transport.open({
      message: (text) => this.#message(line, text),
      closed: (code, reason) => this.#line === line && this.#ended(code, reason)
    });
    this.#line = line;
    this.#isOwed = false;
    if (!this.isPaused) this.#awaitGreeting();
  }
  #awaitGreeting() {
    this.#after("answer", this.options.answerWithinMs, () => this.fail("no greeting came"));
  }
  /** The network or the page is back: ends a wait, and looks whether an open line is alive. */
  wake() {
    if (this.isPaused) return;
    if (this.status.state === "waiting") this.connect();
    else if (this.isOpen) this.#ping();
  }
  send(frame) {
    if (this.#line === null || !this.isOpen) return false;
    this.#line.send(JSON.stringify(frame));
    return true;
  }
  /** Gives the line up and comes back with another. */
  fail(reason) {
    if (this.#line === null) return;
    this.#line.close();
    this.#ended(1006, reason);
  }
  /** Closes for good. */
  close() {
    this.#line?.close();
    this.#line = null;
    this.#isOwed = false;
    this.#forgetUnread();
    this.#stopTimers();
    if (this.status.state !== "closed") this.#set({ state: "closed", code: 1e3, reason: "", retryInMs: 0 });
  }
  #message(line, text) {
    if (this.#line !== line) return;
    if (this.#unread !== null) {
      this.#unread.push(text);
      this.#unreadChars += text.length;
      if (this.#unreadChars > UNREAD_CHARS) this.fail("too much came that was not read");
      return;
    }
    this.#heardAt = this.around.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      frame = null;
    }
    if (typeof frame !== "object" || frame === null || Array.isArray(frame)) {
      this.fail("the server sent what is no JSON object");
      return;
    }
    const fields = frame;
    if (fields.type === "connection_established") this.#greeted(fields);
    else if (fields.type === "pong") this.#pong(fields);
    else this.#hand(fields, text);
  }
  #hand(frame, text) {
    try {
      this.owner.receive(frame, text);
    } catch (error) {
      this.around.report(error);
      this.fail("a frame could not be understood");
    }
  }
  #greeted(frame) {
    if (typeof frame.timestamp === "number") this.clock.heard(this.#heardAt, frame.timestamp);
    if (this.isOpen) return;
    this.#stopTimers();
    this.#set({ state: "open", code: 0, reason: "", retryInMs: 0 });
    if (!this.isOpen) return;
    this.#begin();
    this.owner.opened();
  }
  /** Looks after an open line. */
  #begin() {
    this.#after("steady", STEADY_MS, () => {
      this.#attempt = 0;
    });
    this.#ping();
  }
  #ping() {
    this.#pingedAt = this.around.now();
    this.send({ type: "ping", timestamp: this.#pingedAt });
    this.#after("ping", this.options.pingEveryMs, () => this.#ping());
    this.#after("answer", Math.min(this.options.answerWithinMs, this.options.pingEveryMs), () => {
      if (this.#heardAt < this.#pingedAt) this.fail("nothing came any more");
    });
  }
  #pong(frame) {
    if (typeof frame.timestamp !== "number" || typeof frame.server_time !== "number") return;
    this.clock.pong(frame.timestamp, this.#heardAt, frame.server_time);
  }
  #ended(code, reason) {
    this.#line = null;
    this.#forgetUnread();
    this.#stopTimers();
    const comesBack = CLOSE_CODES.get(code)?.reconnect !== false;
    if (this.isPaused) this.#isOwed = comesBack;
    if (this.isPaused || !comesBack) {
      this.#set({ state: "closed", code, reason, retryInMs: 0 });
      return;
    }
    const ceiling = Math.min(this.options.backoffCapMs, this.options.backoffBaseMs * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    const retryInMs = this.around.random() * ceiling;
    this.#after("retry", retryInMs, () => this.connect());
    this.#set({ state: "waiting", code, reason, retryInMs });
  }
  #forgetUnread() {
    if (this.#unread !== null) this.#unread = [];
    this.#unreadChars = 0;
  }
  #set(status) {
    this.status = status;
    this.owner.changed(status);
  }
  #after(name, ms, call) {
    this.#timers.get(name)?.();
    this.#timers.set(name, this.around.later(call, ms));
  }
  #stopTimers() {
    for (const stop of this.#timers.values()) stop();
    this.#timers.clear();
  }
};

// src/notices.ts
var SYSTEM_CHANNEL = "update_pipeline.system";
var Notices = class {
  #epoch = "";
  #offset = 0;
  since() {
    return this.#epoch !== "" ? { epoch: this.#epoch, offset: this.#offset, view: "" } : void 0;
  }
  /** What is new in a frame, in order. */
  take(frame) {
    if (frame.epoch !== this.#epoch) {
      this.#epoch = frame.epoch;
      this.#offset = 0;
    } else if (frame.reset) {
      return [];
    }
    const fresh = (frame.events ?? []).filter(({ offset }) => offset > this.#offset);
    this.#offset = Math.max(this.#offset, frame.to, ...fresh.map(({ offset }) => offset));
    return fresh.map(notification);
  }
};
function notification({ data, timestamp }) {
  return { level: String(data.level ?? "info"), message: String(data.message ?? ""), timestamp };
}

// src/serverclock.ts
var KEPT = 8;
var DRIFT = 1e-4;
var ServerClock = class {
  #samples = [];
  #bound = -Infinity;
  #boundAt = 0;
  /** Forgets what another server said. */
  reset() {
    this.#samples = [];
    this.#bound = -Infinity;
  }
  /** A pong came: when its ping was sent, when it came (milliseconds of ours), and the server's time in seconds. */
  pong(sentAt, now, serverTime) {
    this.#samples = [...this.#samples, { roundTrip: now - sentAt, offset: serverTime * 1e3 - (sentAt + now) / 2 }];
    this.#samples = this.#samples.slice(-KEPT);
  }
  /** Something came that the server made at `serverTime` (seconds). */
  heard(now, serverTime) {
    if (!Number.isFinite(serverTime)) return;
    this.#bound = Math.max(this.#bound - DRIFT * (now - this.#boundAt), serverTime * 1e3 - now);
    this.#boundAt = now;
  }
  /** The server's time in Unix seconds; null while nothing is known of it. */
  at(now) {
    const best = this.#samples.reduce(
      (one, other) => one !== null && one.roundTrip <= other.roundTrip ? one : other,
      null
    );
    const offset = Math.max(best?.offset ?? -Infinity, this.#bound);
    return offset === -Infinity ? null : (now + offset) / 1e3;
  }
};

// src/eventstream.ts
var SILENCE_MS = 45e3;
var CLOSE_CODE_OF = /* @__PURE__ */ new Map([
  [401, 4401],
  [429, 4429]
]);
var FORBIDDEN = 403;
function eventStreamTransport(url, fetcher = (...call) => fetch(...call), now = () => performance.now()) {
  return { open: (handlers) => new StreamLine(url, fetcher, now, handlers) };
}
var StreamLine = class {
  constructor(url, fetcher, now, handlers) {
    this.url = url;
    this.fetcher = fetcher;
    this.now = now;
    this.handlers = handlers;
    this.#heardAt = now();
    this.#later(() => {
      this.#say({ type: "connection_established" });
      this.#ask();
    });
  }
  url;
  fetcher;
  now;
  handlers;
  /** Every line is on the system's channel. */
  #wanted = /* @__PURE__ */ new Map([[SYSTEM_CHANNEL, { fields: null, position: null, isConfirmed: false }]]);
  #questions = [];
  // subscriptions that no event has answered yet
  #response = null;
  #isDue = false;
  #isClosed = false;
  #heardAt;
  send(text) {
    const frame = JSON.parse(text);
    switch (frame.type) {
      case "subscribe":
        this.#subscribe(frame);
        break;
      case "unsubscribe":
        for (const name of frame.channels) this.#wanted.delete(name);
        this.#later(() => this.#say({ type: "unsubscription_confirmed", channels: frame.channels }));
        this.#ask();
        break;
      case "ping":
        if (this.#response === null || this.now() - this.#heardAt < SILENCE_MS) {
          this.#later(() => this.#say({ type: "pong", timestamp: frame.timestamp }));
        }
        break;
      case "agent_action": {
        const error = { type: "error", code: "no_way_up", message: "an action needs a WebSocket, and there is none", id: frame.id };
        this.#later(() => this.#say(error));
        break;
      }
      default:
    }
  }
  close() {
    this.#isClosed = true;
    this.#response?.abort();
  }
  #subscribe({ channels, since = {}, fields = {} }) {
    for (const name of channels) {
      const at = Object.hasOwn(since, name) ? since[name] : void 0;
      this.#wanted.set(name, {
        fields: Object.hasOwn(fields, name) ? fields[name] : null,
        position: at === void 0 ? null : positionText(at),
        isConfirmed: false
      });
    }
    this.#questions.push(channels);
    this.#ask();
  }
  /** Asks anew, once for all that changed in this turn. */
  #ask() {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#later(() => {
      this.#isDue = false;
      this.#response?.abort();
      this.#response = null;
      void this.#read(new AbortController());
    });
  }
  async #read(response) {
    this.#response = response;
    this.#heardAt = this.now();
    const names = [...this.#wanted.keys()];
    const own = names.filter((name) => name !== SYSTEM_CHANNEL);
    const query = new URLSearchParams({ channels: (own.length > 0 ? own : names).join(",") });
    for (const [name, { fields }] of this.#wanted) if (fields !== null) query.append("fields", `${name}:${fields.join(",")}`);
    const since = [...this.#wanted].flatMap(([name, { position }]) => position === null ? [] : [`${name}=${position}`]);
    if (since.length > 0) query.set("since", since.join(","));
    try {
      const options = { signal: response.signal, cache: "no-store", credentials: "include" };
      const answer = await this.fetcher(`${this.url}?${query}`, options);
      if (this.#response !== response) return;
      if (answer.status === FORBIDDEN) {
        this.#response = null;
        this.#answer(/* @__PURE__ */ new Map());
        return;
      }
      if (answer.status !== 200 || answer.body === null) {
        this.#end(CLOSE_CODE_OF.get(answer.status) ?? 1006, `HTTP ${answer.status}`);
        return;
      }
      let text = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (; ; ) {
        const { done, value } = await reader.read();
        if (this.#response !== response) return;
        if (done) break;
        this.#heardAt = this.now();
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          this.#event(event);
          if (this.#response !== response) return;
        }
      }
      this.#end(1006, "the stream ended");
    } catch (error) {
      if (this.#response === response) this.#end(1006, String(error));
    }
  }
  #event(text) {
    const fields = /* @__PURE__ */ new Map();
    for (const line of text.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
    }
    const data = fields.get("data");
    if (data === void 0) return;
    if (fields.get("event") === "close") {
      const { code, reason } = JSON.parse(data);
      this.#end(code, reason);
      return;
    }
    const id = fields.get("id");
    if (id === void 0) {
      this.handlers.message(data);
      return;
    }
    const positions = new Map(id.split(",").map((part) => part.split("=")));
    this.#answer(positions);
    for (const [name, position] of positions) {
      const wanted = this.#wanted.get(name);
      if (wanted !== void 0 && position !== "-") wanted.position = position;
    }
    this.handlers.message(data);
  }
  /** Each event names the channels that this client is on: the answer to what was asked, and to what was withdrawn. */
  #answer(positions) {
    const isLost = (name) => name !== SYSTEM_CHANNEL && !positions.has(name);
    const lost = [...this.#wanted].filter(([name, { isConfirmed }]) => isConfirmed && isLost(name));
    for (const [name, wanted] of this.#wanted) {
      if (isLost(name)) this.#wanted.delete(name);
      else wanted.isConfirmed = true;
    }
    const questions = this.#questions;
    this.#questions = [];
    for (const names of questions) {
      this.#say({ type: "subscription_confirmed", channels: names.filter((name) => positions.has(name)) });
    }
    if (lost.length > 0) this.#say({ type: "unsubscription_confirmed", channels: lost.map(([name]) => name) });
  }
  #end(code, reason) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#response?.abort();
    this.#response = null;
    this.handlers.closed(code, reason);
  }
  #say(frame) {
    if (!this.#isClosed) this.handlers.message(JSON.stringify(frame));
  }
  #later(call) {
    queueMicrotask(() => {
      if (!this.#isClosed) call();
    });
  }
};
function positionText({ epoch, offset, view }) {
  return view === "" ? `${epoch}:${offset}` : `${epoch}:${offset}:${encodeURIComponent(view)}`;
}
function withFallback(first, second) {
  let patience = 2;
  let attempts = 0;
  let isFirstToTry = false;
  return {
    open(handlers) {
      const isSecond = attempts >= patience && (attempts - patience) % 2 === 0;
      let isGreeted = false;
      attempts++;
      const line = (isSecond ? second : first).open({
        message(text) {
          const isGreeting = !isGreeted && text.includes('"connection_id"');
          if (isGreeting) {
            isGreeted = true;
            attempts = 0;
            patience = isSecond ? 1 : 2;
          }
          handlers.message(text);
          if (!isGreeting) return;
          const isLeft = isSecond && isFirstToTry;
          isFirstToTry = !isSecond;
          if (!isLeft) return;
          line.close();
          handlers.closed(1006, "");
        },
        closed: (code, reason) => handlers.closed(code, reason)
      });
      return line;
    }
  };
}

// src/surroundings.ts
function browserSurroundings() {
  return {
    now: () => performance.now(),
    random: () => Math.random(),
    later(call, ms) {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    listen(call) {
      if (typeof window === "undefined") return () => {
      };
      const online = () => call("wake");
      const hide = () => call("hide");
      const visible = () => call(document.visibilityState === "visible" ? "wake" : "hide");
      window.addEventListener("online", online);
      window.addEventListener("pagehide", hide);
      document.addEventListener("visibilitychange", visible);
      return () => {
        window.removeEventListener("online", online);
        window.removeEventListener("pagehide", hide);
        document.removeEventListener("visibilitychange", visible);
      };
    },
    report(error) {
      if (typeof reportError === "function") reportError(error);
      else console.error(error);
    }
  };
}

// src/transport.ts
var OPEN = 1;
var SUBPROTOCOL = "update-pipeline.sync.v1";
function webSocketTransport(url, implementation) {
  return {
    open(handlers) {
      let isHeard = true;
      let socket = null;
      try {
        socket = new (implementation ?? WebSocket)(url, SUBPROTOCOL);
      } catch (error) {
        queueMicrotask(() => {
          if (isHeard) handlers.closed(1006, String(error));
        });
      }
      if (socket !== null) {
        const opening = socket;
        opening.onmessage = ({ data }) => isHeard && typeof data === "string" && handlers.message(data);
        opening.onclose = ({ code, reason }) => {
          if (isHeard) handlers.closed(code, reason);
          isHeard = false;
        };
        opening.onerror = () => {
        };
      }
      return {
        send(text) {
          if (socket?.readyState === OPEN) socket.send(text);
        },
        close() {
          isHeard = false;
          socket?.close(1e3);
        }
      };
    }
  };
}
function socketUrl(url) {
  const absolute = absoluteUrl(url);
  absolute.protocol = absolute.protocol.replace("http", "ws");
  return absolute.href;
}
function streamUrl(url) {
  const absolute = new URL("stream/", absoluteUrl(url));
  absolute.protocol = absolute.protocol.replace("ws", "http");
  return absolute.href;
}
function absoluteUrl(url) {
  return new URL(url, typeof location === "undefined" ? void 0 : location.href);
}

// src/view.ts
var View = class {
  constructor(channel, left) {
    this.channel = channel;
    this.left = left;
  }
  channel;
  left;
  #offs = /* @__PURE__ */ new Set();
  #isClosed = false;
  get name() {
    return this.channel.name;
  }
  get status() {
    return this.#isClosed ? "closed" : this.channel.status;
  }
  /** The top-level fields that the server shows; null: all. It may show less than was asked for. */
  get fields() {
    return shownIn(this.channel.mirror.view).fields;
  }
  /** Whether the channel's events are shown. */
  get hasEvents() {
    return shownIn(this.channel.mirror.view).hasEvents;
  }
  /** All agents shown now, by id. The map stays as it is; a later one has what changed. */
  get agents() {
    return this.channel.snapshot.agents;
  }
  /** Agents, status and missed events at one moment: the same object until something changes. */
  get snapshot() {
    return this.channel.snapshot;
  }
  /** An agent's fields: the same object for as long as nothing in it changes. */
  get(agentId) {
    return this.channel.mirror.get(agentId);
  }
  /** When an agent's last change was queued, in Unix seconds of the server. */
  changedAt(agentId) {
    return this.channel.mirror.changedAt(agentId);
  }
  /** Events that came and went at the server while this page was away. */
  get missed() {
    return this.channel.mirror.missed;
  }
  /** Calls back whenever an agent, the status or the count of missed events changed. */
  subscribe(call) {
    return this.#keep(this.channel.changes.add(call));
  }
  /** Calls back when one agent changes, comes or goes. */
  subscribeAgent(agentId, call) {
    return this.#keep(this.channel.onAgent(agentId, call));
  }
  /** Calls back with each event, once, in its agent's order, after the state that it came after. */
  onEvent(call) {
    return this.#keep(this.channel.events.add(call));
  }
  /** Calls back when the view becomes live, stale or refused. */
  onStatus(call) {
    return this.#keep(this.channel.statuses.add(call));
  }
  /** Calls back with each frame, once it is applied and all else has been called: what it was, and how old. */
  onFrame(call) {
    return this.#keep(this.channel.frames.add(call));
  }
  /** How many bytes a snapshot of what is shown now would be: what a resume saves. Costs as much as making one. */
  snapshotBytes() {
    return this.channel.snapshotBytes();
  }
  /** Ends it: its callbacks are called no more; with the last view of a channel the subscription ends. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const off of this.#offs) off();
    this.#offs.clear();
    this.left();
  }
  #keep(off) {
    if (this.#isClosed) {
      off();
      return () => {
      };
    }
    const once = () => {
      off();
      this.#offs.delete(once);
    };
    this.#offs.add(once);
    return once;
  }
};

// src/client.ts
var PER_FRAME = 50;
var INVALID_FIELD = "invalid_field";
var NOT_ALLOWED = /* @__PURE__ */ new Set([4001, 4401, 4403]);
function ordinaryTransport(url, implementation) {
  const socket = webSocketTransport(socketUrl(url), implementation);
  return withFallback(socket, eventStreamTransport(streamUrl(url)));
}
var Client = class {
  #options;
  #around;
  #clock = new ServerClock();
  #keeper;
  #actions;
  #notices = new Notices();
  #keeping;
  #channels = /* @__PURE__ */ new Map();
  #toAsk = /* @__PURE__ */ new Set();
  #questions = [];
  #leaving = /* @__PURE__ */ new Map();
  // by channel: `unsubscribe` frames not confirmed yet
  #stopListening;
  #statuses;
  #notifications;
  #errors;
  #repaired = 0;
  // not reported yet
  #isClosed = false;
  constructor(url, options = {}) {
    this.#options = options;
    this.#around = options.surroundings ?? browserSurroundings();
    const report = (error) => this.#around.report(error);
    this.#statuses = new Listeners(report);
    this.#notifications = new Listeners(report);
    this.#errors = new Listeners(report);
    const owner = JSON.stringify([url, options.storageOwner ?? ""]);
    this.#keeping = new Keeping(options.storage, owner, this.#around);
    const transport = options.transport ?? ordinaryTransport(url, options.WebSocket);
    const given = Object.entries(options).filter(([name, value]) => name in LINE_DEFAULTS && value !== void 0);
    const lineOptions = { ...LINE_DEFAULTS, ...Object.fromEntries(given) };
    this.#keeper = new LineKeeper(transport, lineOptions, this.#clock, this.#around, {
      opened: () => this.#opened(),
      receive: (frame, text) => this.#received(frame, text),
      changed: (status) => this.#lineChanged(status)
    });
    this.#actions = new Actions(this.#around, (frame) => this.#keeper.send(frame));
    this.#stopListening = this.#around.listen((what) => what === "wake" ? this.#keeper.wake() : this.#keeping.keep());
    this.#keeper.connect();
  }
  /** How the line is: another object whenever that changes. */
  get status() {
    return this.#keeper.status;
  }
  get isClosed() {
    return this.#isClosed;
  }
  /** The server's time in Unix seconds, estimated; null while nothing came from it. */
  get serverTime() {
    return this.#clock.at(this.#around.now());
  }
  onStatus(call) {
    return this.#statuses.add(call);
  }
  /** What the server says to everybody. */
  onNotification(call) {
    return this.#notifications.add(call);
  }
  /** What went wrong at the server without being an action's answer. */
  onError(call) {
    return this.#errors.add(call);
  }
  /**
   * A channel's live copy. Close the view when it is not needed: with its last user the subscription ends.
   *
   * `fields` asks for some top-level fields of each agent only. Users of one channel share a view, which has what any
   * of them asked for; one who asks for no fields asks for all. What the server shows may be less, and may change:
   * `View.fields` and `View.hasEvents`.
   */
  channel(name, options = {}) {
    if (this.#isClosed) throw new Error("the client is closed: connect() makes another one");
    let channel = this.#channels.get(name);
    const isNew = channel === void 0;
    if (channel === void 0) {
      channel = new Channel(name, (error) => this.#around.report(error));
      this.#channels.set(name, channel);
    }
    const user = {};
    const isOther = channel.join(user, options.fields?.length ? options.fields : null);
    const impossible = channel.impossibleOf(options.fields ?? []);
    if (impossible.length > 0) this.#cannotBeAsked(channel, impossible);
    if (channel.isImpossible) channel.refuse();
    else if (isNew) this.#keeping.restore(channel);
    if (isOther || !channel.isAsked) this.#ask(channel);
    const joined = channel;
    return new View(joined, () => this.#left(joined, user));
  }
  /** A channel as it is shown now, without becoming a user of it. */
  peek(name) {
    return this.#channels.get(name)?.snapshot;
  }
  /** An agent of a channel as it is shown now, without becoming a user of it. */
  peekAgent(name, agentId) {
    return this.#channels.get(name)?.mirror.get(agentId);
  }
  /** Asks the server for an action. Resolves once it was taken; rejects with an `ActionError`. */
  act(agentId, action, params = {}, options = {}) {
    return this.#actions.act(agentId, action, params, options.timeoutMs ?? this.#options.actionTimeoutMs ?? 1e4);
  }
  get isPaused() {
    return this.#keeper.isPaused;
  }
  /**
   * Reads nothing any more: frames are neither applied nor acknowledged, so the server soon sends none, and the views
   * are stale. The line stays open; where it breaks, or far more comes than a server may send, it stays away until
   * `resume()`. For a page that nobody looks at, and to see what a slow reader sees.
   */
  pause() {
    if (this.#isClosed || this.isPaused) return;
    for (const { stop } of this.#questions) stop();
    this.#keeper.pause();
    for (const channel of this.#channels.values()) channel.paused();
  }
  /** Reads again: what had come first, then what the server says has changed since. */
  resume() {
    if (this.#isClosed || !this.isPaused) return;
    const wasOpen = this.#keeper.isOpen;
    this.#keeper.resume();
    if (wasOpen && this.#keeper.isOpen) this.#askForAll();
  }
  /** Closes the line until `reconnect()`. What is shown stays, and is stale. */
  disconnect() {
    if (!this.#isClosed) this.#keeper.close();
  }
  /** Opens the line again, as after a log-in; at once if it waits for its next attempt. Ends a pause. */
  reconnect() {
    if (this.#isClosed) return;
    this.resume();
    this.#keeper.fail("asked to");
    this.#keeper.connect();
  }
  /** Ends it all: views are closed, actions that wait are rejected. What is kept stays for the next page. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#keeping.keep();
    this.#stopListening();
    this.#actions.close();
    this.#dropQuestions();
    this.#keeper.close();
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
  // what is asked
  #ask(channel) {
    if (this.#toAsk.size === 0) queueMicrotask(() => this.#askAll());
    this.#toAsk.add(channel);
  }
  #askAll(withNotices = false) {
    const isMeant = (one) => this.#channels.get(one.name) === one && !one.isImpossible;
    const channels = [...this.#toAsk].filter(isMeant);
    this.#toAsk.clear();
    if (!this.#keeper.isOpen || this.#keeper.isPaused) return;
    let notices = withNotices ? this.#notices.since() : void 0;
    for (let at = 0; at < channels.length || notices !== void 0; at += PER_FRAME) {
      this.#subscribe(channels.slice(at, at + PER_FRAME), notices);
      notices = void 0;
    }
  }
  #askForAll(withNotices = false) {
    this.#toAsk.clear();
    for (const channel of this.#channels.values()) this.#toAsk.add(channel);
    this.#askAll(withNotices);
  }
  #subscribe(channels, notices) {
    const names = channels.map(({ name }) => name);
    const since = [];
    const fields = [];
    for (const channel of channels) {
      const at = channel.since();
      if (at !== void 0) since.push([channel.name, at]);
      if (channel.fields !== null) fields.push([channel.name, channel.fields]);
      channel.asked();
    }
    if (notices !== void 0) {
      names.push(SYSTEM_CHANNEL);
      since.push([SYSTEM_CHANNEL, notices]);
    }
    const frame = { type: "subscribe", channels: names, since: Object.fromEntries(since), fields: Object.fromEntries(fields) };
    if (!this.#keeper.send(frame)) return;
    const withinMs = this.#options.answerWithinMs ?? LINE_DEFAULTS.answerWithinMs;
    const stop = this.#around.later(() => this.#keeper.fail("a subscription was not answered"), withinMs);
    this.#questions.push({ channels, notices, stop });
  }
  #left(channel, user) {
    channel.leave(user);
    if (channel.hasUsers || this.#isClosed) return;
    this.#around.later(() => {
      if (channel.hasUsers || this.#channels.get(channel.name) !== channel) return;
      this.#keeping.left(channel);
      this.#channels.delete(channel.name);
      if (channel.isAsked && this.#keeper.send({ type: "unsubscribe", channels: [channel.name] })) {
        this.#leaving.set(channel.name, (this.#leaving.get(channel.name) ?? 0) + 1);
      }
      channel.close();
    }, this.#options.lingerMs ?? 1e3);
  }
  // what comes
  #opened() {
    this.#askForAll(true);
    this.#actions.lineOpened();
  }
  #received(frame, text) {
    switch (frame.type) {
      case "sync":
        this.#sync(frame, text);
        break;
      case "subscription_confirmed":
        this.#confirmed(frame.channels);
        break;
      case "unsubscription_confirmed":
        for (const name of frame.channels) this.#takenOff(name);
        break;
      case "action_queued":
        this.#actions.answered(frame);
        break;
      case "error":
        if (!this.#actions.answered(frame)) this.#serverError({ code: String(frame.code), message: String(frame.message) });
        break;
      default:
    }
  }
  #sync(frame, text) {
    this.#clock.heard(this.#around.now(), frame.ts);
    let ageMs = null;
    if (frame.channel === SYSTEM_CHANNEL) {
      for (const notification2 of this.#notices.take(frame)) this.#notifications.tell(notification2);
      ageMs = ageOf(frame, this.serverTime);
    } else {
      ageMs = this.#apply(frame, text);
    }
    if (frame.ack) this.#acknowledge(frame, ageMs);
  }
  #apply(frame, text) {
    const channel = this.#channels.get(frame.channel);
    if (channel === void 0 || !channel.isAsked || channel.isOfBefore) return null;
    const view = channel.mirror.view;
    const taken = channel.take(frame, utf8Length(text), () => this.serverTime);
    this.#repaired += taken?.repaired ?? 0;
    if ((taken === null || taken.isLost) && channel.unanswered === 0 && channel.isAsked) this.#subscribe([channel]);
    if (taken === null) return null;
    if (channel.mirror.view !== view) this.#keeping.remove(channel);
    this.#keeping.changed(channel);
    return taken.ageMs;
  }
  #acknowledge(frame, ageMs) {
    const age = ageMs === null ? {} : { age_ms: Math.round(ageMs * 100) / 100 };
    const repaired = this.#repaired > 0 ? { repaired: this.#repaired } : {};
    if (this.#keeper.send({ type: "ack", channel: frame.channel, offset: frame.to, ...age, ...repaired })) {
      this.#repaired = 0;
    }
  }
  #confirmed(names) {
    const question = this.#questions.shift();
    if (question === void 0) return;
    question.stop();
    for (const channel of question.channels) {
      channel.answered();
      if (!names.includes(channel.name)) this.#refuse(channel);
    }
  }
  #serverError(error) {
    if (error.code !== INVALID_FIELD || this.#questions.length === 0) this.#errors.tell(error);
    else this.#notUnderstood(this.#questions.shift(), error);
  }
  /**
   * The server refuses a frame whole, for one channel of it say, and will each time: halves are asked for, until that
   * channel is alone, and it is not asked for any more. What else is sent has no fields that could be wrong.
   */
  #notUnderstood({ channels, notices, stop }, error) {
    stop();
    for (const channel of channels) channel.answered();
    if (channels.length < 2) {
      for (const channel of channels) this.#refuse(channel, true);
      if (notices !== void 0 && channels.length > 0) this.#subscribe([], notices);
      this.#errors.tell(error);
      return;
    }
    const middle = Math.ceil(channels.length / 2);
    this.#subscribe(channels.slice(0, middle), notices);
    this.#subscribe(channels.slice(middle));
  }
  /** Says which fields are left out, where somebody listens or else to the page's console. */
  #cannotBeAsked(channel, names) {
    const shown = names.map((name) => JSON.stringify(name.slice(0, 100))).join(", ");
    const message = `fields of ${channel.name}: no projection may have ${shown}: give names of 1 to 100 characters without commas and control characters`;
    if (this.#errors.size === 0) this.#around.report(new Error(message));
    else this.#errors.tell({ code: INVALID_FIELD, message });
  }
  #takenOff(name) {
    const asked = this.#leaving.get(name) ?? 0;
    if (asked > 1) this.#leaving.set(name, asked - 1);
    else this.#leaving.delete(name);
    const channel = this.#channels.get(name);
    if (asked === 0 && channel !== void 0) this.#refuse(channel);
  }
  #refuse(channel, isForGood = false) {
    this.#keeping.forget(channel);
    if (isForGood) channel.cannotBe();
    else channel.refuse();
  }
  #lineChanged(status) {
    if (status.state !== "open") {
      this.#dropQuestions();
      this.#leaving.clear();
      for (const channel of this.#channels.values()) channel.lineLost();
      if (status.state !== "connecting") this.#actions.lineLost();
      if (NOT_ALLOWED.has(status.code)) for (const channel of this.#channels.values()) this.#refuse(channel);
    }
    this.#statuses.tell(status);
  }
  #dropQuestions() {
    for (const { stop } of this.#questions) stop();
    this.#questions = [];
  }
};

// src/index.ts
function connect(url = null, options = {}) {
  const told = typeof document === "undefined" ? {} : tagOf(document).dataset;
  const { updatePipelineSocket: socket = "", updatePipelineOwner: owner = "" } = told;
  const address = url ?? socket;
  if (!address) {
    throw new Error("no socket is named: call connect('/ws/updates/'), or put {% update_pipeline_js %} on the page");
  }
  return new Client(address, { storageOwner: owner, ...options });
}
function tagOf(page) {
  return page.querySelector("script[data-update-pipeline-socket]") ?? { dataset: {} };
}

// src/react.ts
var DEFAULT_CHANNEL = "updates";
var Pipeline = createContext(null);
var UpdatePipelineProvider = (props) => {
  const { client: given, url = null, channel = DEFAULT_CHANNEL } = props;
  const [made, setMade] = useState(null);
  const options = useRef(props.options);
  useEffect(() => {
    options.current = props.options;
  });
  useEffect(() => {
    if (given !== void 0) return void 0;
    const client2 = connect(url, options.current);
    setMade(client2);
    return () => {
      setMade(null);
      client2.close();
    };
  }, [given, url]);
  const client = given ?? made;
  const shared = useMemo(() => ({ client, channel }), [client, channel]);
  return createElement(Pipeline.Provider, { value: shared }, props.children);
};
function useShared() {
  const shared = useContext(Pipeline);
  if (shared === null) throw new Error("no UpdatePipelineProvider is around this component: put one near the root");
  return shared;
}
var NOT_YET = Object.freeze({ state: "connecting", code: 0, reason: "", retryInMs: 0 });
function useUpdatePipeline() {
  const { client } = useShared();
  const subscribe = useCallback((call) => client?.onStatus(call) ?? (() => {
  }), [client]);
  const now = () => client?.status ?? NOT_YET;
  const status = useSyncExternalStore(subscribe, now, () => NOT_YET);
  return useMemo(() => {
    const act = (...call) => client?.act(...call) ?? Promise.reject(new ActionError("client_closed", "there is no client yet"));
    return { client, status, act };
  }, [client, status]);
}
var EMPTY = Object.freeze({ agents: /* @__PURE__ */ new Map(), status: "loading", missed: 0 });
function useChannel(name, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = name ?? shared.channel;
  const subscribe = useSubscription(client, channel, options, null);
  return useSyncExternalStore(
    subscribe,
    () => client?.peek(channel) ?? EMPTY,
    () => EMPTY
  );
}
function useAgent(agentId, selector = whole, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const equal = options.equal ?? shallowEqual;
  const rendered = useRef(null);
  const select = useMemo(() => {
    let last = null;
    return () => {
      const agent = client?.peekAgent(channel, agentId);
      if (last !== null && last.agent === agent) return last.selection;
      const before = last ?? rendered.current;
      const selection2 = selector(agent);
      last = { agent, selection: before !== null && equal(before.selection, selection2) ? before.selection : selection2 };
      return last.selection;
    };
  }, [client, channel, agentId, selector, equal]);
  const subscribe = useSubscription(client, channel, options, agentId);
  const selection = useSyncExternalStore(subscribe, select, () => selector(void 0));
  useEffect(() => {
    rendered.current = { selection };
  }, [selection]);
  return selection;
}
function useEvents(call, options = {}) {
  const shared = useShared();
  const { client } = shared;
  const channel = options.channel ?? shared.channel;
  const wanted = key(options.fields);
  const newest = useRef(call);
  useEffect(() => {
    newest.current = call;
  });
  useEffect(() => {
    if (client === null || client.isClosed) return void 0;
    const view = open(client, channel, wanted);
    view.onEvent((event) => newest.current(event));
    return () => view.close();
  }, [client, channel, wanted]);
}
function whole(agent) {
  return agent;
}
function useSubscription(client, channel, { fields }, agentId) {
  const wanted = key(fields);
  return useCallback(
    (call) => {
      if (client === null || client.isClosed) return () => {
      };
      const view = open(client, channel, wanted);
      if (agentId === null) view.subscribe(call);
      else view.subscribeAgent(agentId, call);
      return () => view.close();
    },
    [client, channel, wanted, agentId]
  );
}
function key(fields) {
  return fields === void 0 ? null : JSON.stringify(fields);
}
function open(client, channel, wanted) {
  return client.channel(channel, wanted === null ? {} : { fields: JSON.parse(wanted) });
}
export {
  UpdatePipelineProvider,
  useAgent,
  useChannel,
  useEvents,
  useUpdatePipeline
};
