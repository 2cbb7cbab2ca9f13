/**
 * The live copy of what a channel shows: what a client does with frames (Law S4). No socket, no clock, no listeners.
 *
 * A snapshot (`reset`) in parts is gathered beside what is shown and takes its place when it is complete, so that a
 * screen that had something is never empty. What comes `urgent` meanwhile is shown at once: such a part has its
 * agents whole. What another view does not have goes at once.
 */

import { sameJson } from "./equal.js";
import type { Check, Fields, Json, PipelineEvent, Position, SyncFrame } from "./frames.js";
import { shownIn } from "./frames.js";

/** What a frame changed. */
export interface Applied {
  /** Agents whose fields are others now, or that came or went. */
  changed: Set<string>;
  /** Events not delivered before, in order. */
  events: PipelineEvent[];
  /** Events that the server's history had let go of before they were sent here. */
  missed: number;
  /** Differences that the server's self-check found here, and that were repaired: it should be 0. */
  repaired: number;
}

/** What `save()` keeps and `restore()` takes, as JSON. */
export interface SavedMirror {
  epoch: string;
  view: string;
  offset: number;
  eventCount: number | null;
  urgent: [string, number][];
  agents: [string, Fields, number][];
}

interface Shown {
  fields: Fields;
  at: number;
}

/** What the agents that a frame touches were before it. */
type Before = Map<string, Fields | undefined>;

const NO_FIELDS: Fields = Object.freeze(Object.create(null) as Fields);

export class Mirror {
  epoch = "";
  /** The name of the view that is shown: what the server said last. */
  view = "";
  position = 0;
  missed = 0;
  repaired = 0;
  /** Whether all there was to tell, when the last frame was made, has been told. */
  isLive = false;
  #shown = new Map<string, Shown>();
  #gathered: Map<string, Shown> | null = null; // a snapshot that is not complete
  #eventCount: number | null = null; // how many events the channel had at `position`
  #urgent = new Map<string, number>(); // by agent: the last event that came before its turn

  /** How many agents are shown. */
  get size(): number {
    return this.#shown.size;
  }

  /** An agent's fields: the same object for as long as nothing in it changes. */
  get(agentId: string): Fields | undefined {
    return this.#shown.get(agentId)?.fields;
  }

  /** When an agent's last change was queued, in Unix seconds. */
  changedAt(agentId: string): number | undefined {
    return this.#shown.get(agentId)?.at;
  }

  /** The agents shown now, as a map of its own. */
  agents(): Map<string, Fields> {
    return new Map(Array.from(this.#shown, ([agentId, { fields }]) => [agentId, fields]));
  }

  /** The position to come back with; undefined: everything is wanted. */
  since(): Position | undefined {
    // At 0 is who was told that nothing has happened yet, and not who was cut before the end of a snapshot.
    if (this.epoch === "" || (this.position === 0 && this.#eventCount === null)) return undefined;
    return { epoch: this.epoch, offset: this.position, view: this.view };
  }

  /** Applies a frame; null: it begins after this position, so subscribe again with `since()`. */
  apply(frame: SyncFrame): Applied | null {
    const view = frame.view ?? "";
    const before: Before = new Map();
    if (frame.reset) {
      this.#forget();
      if (frame.epoch !== this.epoch) this.#urgent.clear(); // else what came before its turn came
      if (view !== this.view) this.#narrow(shownIn(view).fields, before);
      this.epoch = frame.epoch;
      this.view = view;
      this.#gathered = this.#shown.size > 0 ? new Map() : null;
    } else if (frame.epoch !== this.epoch || view !== this.view || frame.from > this.position) {
      return null;
    }
    this.#applyState(frame, before);
    const { events, fresh } = this.#takeEvents(frame);
    this.isLive = !frame.more;
    if (this.isLive) this.#swap(before);
    let missed = 0;
    if (frame.to > this.position || (this.isLive && this.#eventCount === null)) {
      if (this.#eventCount !== null) missed = Math.max(0, frame.event_count - this.#eventCount - fresh);
      this.#eventCount = frame.event_count;
      this.position = frame.to;
      for (const [agentId, at] of this.#urgent) if (at <= this.position) this.#urgent.delete(agentId);
    }
    const repaired = frame.check === undefined ? 0 : this.#compare(frame.check, before);
    this.missed += missed;
    this.repaired += repaired;
    const changed = new Set<string>();
    for (const [agentId, fields] of before) if (this.get(agentId) !== fields) changed.add(agentId);
    return { changed, events, missed, repaired };
  }

  /** Forgets everything, as where the right to see it ended. The agents that were shown are returned. */
  clear(): Set<string> {
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
  asSnapshot(): Omit<SyncFrame, "type" | "channel"> {
    const agents = Array.from(this.#shown, ([agentId, { fields, at }]) => [agentId, { set: fields, at }] as const);
    const ts = Math.max(0, ...agents.map(([, { at }]) => at));
    const { epoch, position: to } = this;
    return { epoch, from: 0, to, ts, reset: true, agents: Object.fromEntries(agents), event_count: this.#eventCount ?? 0 };
  }

  /** What a reload needs to go on from here; null while there is nothing to go on from. */
  save(): SavedMirror | null {
    if (this.since() === undefined || this.#gathered !== null) return null;
    return {
      epoch: this.epoch,
      view: this.view,
      offset: this.position,
      eventCount: this.#eventCount,
      urgent: [...this.#urgent],
      agents: Array.from(this.#shown, ([agentId, { fields, at }]) => [agentId, fields, at]),
    };
  }

  /** Takes what `save()` made; what else it is given (it was stored where others can write) is refused with false. */
  restore(saved: unknown): boolean {
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

  #forget(): void {
    this.position = 0;
    this.#eventCount = null;
  }

  /** What may not be seen any more is shown no longer, also while a snapshot comes. */
  #narrow(names: readonly string[] | null, before: Before): void {
    if (names === null) return;
    for (const [agentId, { fields, at }] of this.#shown) {
      const gone = Object.keys(fields).filter((name) => !names.includes(name));
      if (gone.length === 0) continue;
      this.#note(agentId, before);
      this.#shown.set(agentId, { fields: merged(fields, {}, gone), at });
    }
  }

  #applyState(frame: SyncFrame, before: Before): void {
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
      // An unchanged agent keeps its identity, also where it comes back, or a snapshot tells it again.
      const known = [before.get(agentId) ?? this.get(agentId), old];
      const entry = { fields: known.find((one) => one !== undefined && sameJson(one, fields)) ?? fields, at: change.at };
      agents.set(agentId, entry);
      if (isSeen) this.#shown.set(agentId, entry);
    }
  }

  /** Keeps what an agent was before the first change of a frame. */
  #note(agentId: string, before: Before): void {
    if (!before.has(agentId)) before.set(agentId, this.get(agentId));
  }

  /** A complete snapshot takes the place of what was shown. */
  #swap(before: Before): void {
    if (this.#gathered === null) return;
    for (const agents of [this.#shown, this.#gathered]) for (const agentId of agents.keys()) this.#note(agentId, before);
    this.#shown = this.#gathered;
    this.#gathered = null;
  }

  #takeEvents(frame: SyncFrame): { events: PipelineEvent[]; fresh: number } {
    const events: PipelineEvent[] = [];
    let fresh = 0; // how many lie above the position, told before or not
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
  #compare(check: Check, before: Before): number {
    let repaired = 0;
    for (const [agentId, whole] of Object.entries(check.agents)) {
      const mine = this.#shown.get(agentId);
      if (mine !== undefined && sameJson(mine.fields, whole)) continue;
      this.#note(agentId, before);
      this.#shown.set(agentId, { fields: merged(NO_FIELDS, whole, []), at: mine?.at ?? 0 });
      repaired++;
    }
    if (this.#shown.size !== check.count) {
      repaired++;
      this.epoch = ""; // what is missing or too much is not known: begin afresh
    }
    return repaired;
  }
}

/** Fields with some set and some unset: without a prototype, so that no name reaches one. Equal values keep their identity. */
function merged(old: Fields, set: { readonly [name: string]: Json }, unset: readonly string[]): Fields {
  const fields = Object.create(null) as Record<string, Json>;
  for (const name of Object.keys(old)) fields[name] = old[name]!;
  for (const name of unset) delete fields[name];
  for (const name of Object.keys(set)) {
    const value = set[name]!;
    if (!(name in fields && sameJson(fields[name], value))) fields[name] = value;
  }
  return Object.freeze(fields);
}

function isSaved(saved: unknown): saved is SavedMirror {
  if (!isObject(saved)) return false;
  const { epoch, view, offset, eventCount, urgent, agents } = saved;
  return (
    typeof epoch === "string" &&
    epoch !== "" &&
    typeof view === "string" &&
    isOffset(offset) &&
    (eventCount === null ? offset > 0 : isOffset(eventCount)) &&
    isListOf(urgent, ([agentId, at]) => typeof agentId === "string" && isOffset(at)) &&
    isListOf(
      agents,
      ([agentId, fields, at]) => typeof agentId === "string" && isObject(fields) && typeof at === "number",
    )
  );
}

function isListOf(list: unknown, holds: (row: unknown[]) => boolean): boolean {
  return Array.isArray(list) && list.every((row) => Array.isArray(row) && holds(row));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isOffset(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
