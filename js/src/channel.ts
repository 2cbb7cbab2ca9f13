/** One channel as its users see it: a mirror, what it is worth now, and who wants to hear of it. */

import type { Fields, PipelineEvent, Position, SyncFrame } from "./frames.js";
import { isFieldName, utf8Length, viewName } from "./frames.js";
import { Listeners } from "./listeners.js";
import { Mirror } from "./mirror.js";

/**
 * `loading`: the first snapshot is not complete; `live`: it shows what the server has; `stale`: it shows what the server had (no line, or
 * catching up); `refused`: it may not or can't be seen, and shows nothing; `closed`: it was given up here.
 */
export type ViewStatus = "loading" | "live" | "stale" | "refused" | "closed";

/** What it took to become live again. `bytes` is the length of the frames' text in UTF-8. */
export interface CatchUp {
  readonly frames: number;
  readonly bytes: number;
  readonly agents: number;
  readonly fields: number;
  readonly events: number;
  /** True if all was sent anew, false if only what had changed. */
  readonly isReset: boolean;
}

export interface StatusChange {
  readonly status: ViewStatus;
  readonly before: ViewStatus;
  /** With `live`: what was sent for it. */
  readonly catchUp: CatchUp | null;
}

/** One frame, when it has been applied. */
export interface ReceivedFrame {
  /** The length of its text in UTF-8. */
  readonly bytes: number;
  /** The agents it told something of. */
  readonly agents: readonly string[];
  readonly fields: number;
  readonly events: number;
  /** How old its oldest change was when it was applied, by the server's clock; null unless the view was and is live. */
  readonly ageMs: number | null;
}

/** A channel at one moment: another object whenever something in it changes, the same until then. */
export interface ViewSnapshot {
  readonly agents: ReadonlyMap<string, Fields>;
  readonly status: ViewStatus;
  /** Events that the server's history had let go of while this page was away. */
  readonly missed: number;
}

/** What came of a frame. */
export interface Taken {
  repaired: number;
  /** How old the frame's oldest change was once it was applied; null where it has none. */
  ageMs: number | null;
  /** The mirror has to be told everything anew. */
  isLost: boolean;
}

/** Of more fields than this no projection is made: all are asked for. */
const MAX_FIELDS = 100;

const NOTHING: CatchUp = { frames: 0, bytes: 0, agents: 0, fields: 0, events: 0, isReset: false };

export class Channel {
  readonly mirror = new Mirror();
  readonly events: Listeners<PipelineEvent>;
  readonly statuses: Listeners<StatusChange>;
  readonly changes: Listeners<void>;
  readonly frames: Listeners<ReceivedFrame>;
  status: ViewStatus = "loading";
  /** Whether this line's server was asked for it. */
  isAsked = false;
  /** Subscriptions that the server has not answered yet. */
  unanswered = 0;
  /** Nothing was read for a while: it is live again once the server has answered from here. */
  #isBehind = false;
  #users = new Map<object, readonly string[] | null>();
  #fields: readonly string[] | null = null;
  #impossible = new Set<string>(); // names that were asked for and that no field has in a projection
  #refusedView: string | null = null;
  #byAgent = new Map<string, Listeners<void>>();
  #snapshot: ViewSnapshot | null = null;
  #catchUp = NOTHING;

  constructor(
    readonly name: string,
    private readonly report: (error: unknown) => void,
  ) {
    this.events = new Listeners(report);
    this.statuses = new Listeners(report);
    this.changes = new Listeners(report);
    this.frames = new Listeners(report);
  }

  /** What its users want of each agent, together; null: everything. */
  get fields(): readonly string[] | null {
    return this.#fields;
  }

  /** The name of the view that is asked for; the server may show another one. */
  get view(): string {
    return viewName(this.#fields);
  }

  /** Whether the server can't be asked for it: it would refuse, however often it is asked. */
  get isImpossible(): boolean {
    return this.#fields?.length === 0 || this.#refusedView === this.view;
  }

  get hasUsers(): boolean {
    return this.#users.size > 0;
  }

  /**
   * Adds a user; true if the view is another one now, so that the server has to be asked again. A name that no
   * projection may have is left out: it would cost all the others theirs.
   */
  join(user: object, fields: readonly string[] | null): boolean {
    this.#users.set(user, fields?.filter(isFieldName) ?? null);
    return this.#widen();
  }

  /** Those of the names that no projection may have, each once in this channel's life. */
  impossibleOf(fields: readonly string[]): string[] {
    const found = [...new Set(fields)].filter((name) => !isFieldName(name) && !this.#impossible.has(name));
    for (const name of found) this.#impossible.add(name);
    return found;
  }

  /** Takes a user off. The view stays as wide as it was: a narrower one would have to be sent anew. */
  leave(user: object): void {
    this.#users.delete(user);
  }

  #widen(): boolean {
    const before = this.view;
    const wanted = [...this.#users.values()];
    const isFirst = wanted.length === 1 && this.status === "loading" && !this.isAsked;
    if (wanted.includes(null)) this.#fields = null;
    else if (isFirst) this.#fields = [...new Set(wanted.flatMap((fields) => fields ?? []))];
    else if (this.#fields !== null) this.#fields = [...new Set([...this.#fields, ...wanted.flatMap((f) => f ?? [])])];
    if (this.#fields !== null && this.#fields.length > MAX_FIELDS) this.#fields = null; // the server would refuse it all
    if (this.view === before) return false;
    this.mirror.epoch = ""; // a position is valid for one view
    return true;
  }

  /** Whether what comes is of an earlier subscription: all was asked for anew, and the answer comes before its frames. */
  get isOfBefore(): boolean {
    return this.unanswered > 0 && this.mirror.since() === undefined;
  }

  /** The position to subscribe with. */
  since(): Position | undefined {
    return this.mirror.since();
  }

  /** The server is being asked. */
  asked(): void {
    this.isAsked = true;
    this.unanswered++;
    if (!this.#isBehind) this.#catchUp = NOTHING;
    if (this.status !== "loading") this.#become(this.#hasSomething ? "stale" : "loading");
  }

  /** The server has confirmed or refused what it was asked: the frames that come now are the answer. */
  answered(): void {
    this.unanswered = Math.max(0, this.unanswered - 1);
    if (this.unanswered === 0) this.#isBehind = false;
  }

  /** Nothing is read any more, so what is shown is what the server had. */
  paused(): void {
    this.#isBehind = this.isAsked;
    if (this.status === "live") this.#become("stale");
  }

  /** The line is gone. */
  lineLost(): void {
    this.isAsked = false;
    this.unanswered = 0;
    this.#isBehind = false;
    if (this.status === "live") this.#become("stale");
  }

  /** The server can't show this view: it is not asked for again until it is another one. */
  cannotBe(): void {
    this.#refusedView = this.view;
    this.refuse();
  }

  /** It may not be seen (any more): nothing is shown. */
  refuse(): void {
    this.isAsked = false;
    this.#catchUp = NOTHING;
    this.#tell(this.mirror.clear(), "refused", []);
  }

  close(): void {
    this.#become("closed");
  }

  /** Shows what was stored, until the server says what has changed since. */
  restore(saved: unknown): boolean {
    const isGood = this.mirror.restore(saved);
    if (isGood) this.#become("stale");
    return isGood;
  }

  /** Applies a frame of so many bytes; null: it begins after what is known here. `serverTime` is in Unix seconds. */
  take(frame: SyncFrame, bytes: number, serverTime: () => number | null = () => null): Taken | null {
    const applied = this.mirror.apply(frame);
    if (applied === null) return null;
    const wasLive = this.status === "live";
    const received = receivedOf(frame, bytes);
    if (!wasLive) this.#count(received, frame.reset === true);
    const isLost = this.mirror.since() === undefined && applied.repaired > 0;
    const isLive = this.mirror.isLive && !isLost && !this.#isBehind;
    this.#tell(
      applied.changed,
      isLive ? "live" : this.status === "loading" ? "loading" : "stale",
      applied.events,
      applied.missed > 0,
    );
    const ageMs = ageOf(frame, serverTime());
    const saysHowLong = wasLive && isLive && !frame.reset;
    if (this.frames.size > 0) this.frames.tell({ ...received, ageMs: saysHowLong ? ageMs : null });
    return { repaired: applied.repaired, ageMs, isLost };
  }

  /** How long a snapshot of what is shown would be as the server's frame, in bytes. Costs as much as making one. */
  snapshotBytes(): number {
    const view = this.mirror.view === "" ? {} : { view: this.mirror.view };
    return utf8Length(JSON.stringify({ type: "sync", channel: this.name, ...view, ...this.mirror.asSnapshot() }));
  }

  get snapshot(): ViewSnapshot {
    this.#snapshot ??= { agents: this.mirror.agents(), status: this.status, missed: this.mirror.missed };
    return this.#snapshot;
  }

  /** Calls back when one agent changes, comes or goes. */
  onAgent(agentId: string, call: () => void): () => void {
    const listeners = this.#byAgent.get(agentId) ?? new Listeners<void>(this.report);
    this.#byAgent.set(agentId, listeners);
    const off = listeners.add(call);
    return () => {
      off();
      if (listeners.size === 0 && this.#byAgent.get(agentId) === listeners) this.#byAgent.delete(agentId);
    };
  }

  get #hasSomething(): boolean {
    return this.mirror.size > 0 || this.mirror.since() !== undefined;
  }

  #count({ bytes, agents, fields, events }: Omit<ReceivedFrame, "ageMs">, isReset: boolean): void {
    const before = isReset ? NOTHING : this.#catchUp;
    this.#catchUp = {
      frames: before.frames + 1,
      bytes: before.bytes + bytes,
      agents: before.agents + agents.length,
      fields: before.fields + fields,
      events: before.events + events,
      isReset: before.isReset || isReset,
    };
  }

  #become(status: ViewStatus): void {
    this.#tell(new Set(), status, []);
  }

  /** State first, then events, then what it is worth: never an event before the state that it came after. */
  #tell(changed: Set<string>, status: ViewStatus, events: PipelineEvent[], isOther = false): void {
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
}

function receivedOf(frame: SyncFrame, bytes: number): Omit<ReceivedFrame, "ageMs"> {
  let fields = 0;
  for (const { set, unset } of Object.values(frame.agents ?? {})) {
    fields += Object.keys(set ?? {}).length + (unset?.length ?? 0);
  }
  const agents = [...new Set([...(frame.removed ?? []), ...Object.keys(frame.agents ?? {})])];
  return { bytes, agents, fields, events: frame.events?.length ?? 0 };
}

/**
 * How old the frame's oldest change is at a time of the server (Unix seconds), in milliseconds; null where it has none.
 * Of which frames that says how long news takes, the server knows.
 */
export function ageOf(frame: SyncFrame, serverTime: number | null): number | null {
  let oldest = Infinity;
  for (const { at } of Object.values(frame.agents ?? {})) oldest = Math.min(oldest, at);
  for (const { timestamp } of frame.events ?? []) oldest = Math.min(oldest, timestamp);
  return oldest === Infinity || serverTime === null ? null : Math.max(0, (serverTime - oldest) * 1000);
}
