/** One user's hold on a channel. */

import type { Channel, ReceivedFrame, StatusChange, ViewSnapshot, ViewStatus } from "./channel.js";
import type { Fields, PipelineEvent } from "./frames.js";
import { shownIn } from "./frames.js";

export class View {
  #offs = new Set<() => void>();
  #isClosed = false;

  constructor(
    private readonly channel: Channel,
    private readonly left: () => void,
  ) {}

  get name(): string {
    return this.channel.name;
  }

  get status(): ViewStatus {
    return this.#isClosed ? "closed" : this.channel.status;
  }

  /** The top-level fields that the server shows; null: all. It may show less than was asked for. */
  get fields(): readonly string[] | null {
    return shownIn(this.channel.mirror.view).fields;
  }

  /** Whether the channel's events are shown. */
  get hasEvents(): boolean {
    return shownIn(this.channel.mirror.view).hasEvents;
  }

  /** All agents shown now, by id. The map stays as it is; a later one has what changed. */
  get agents(): ReadonlyMap<string, Fields> {
    return this.channel.snapshot.agents;
  }

  /** Agents, status and missed events at one moment: the same object until something changes. */
  get snapshot(): ViewSnapshot {
    return this.channel.snapshot;
  }

  /** An agent's fields: the same object for as long as nothing in it changes. */
  get(agentId: string): Fields | undefined {
    return this.channel.mirror.get(agentId);
  }

  /** When an agent's last change was queued, in Unix seconds of the server. */
  changedAt(agentId: string): number | undefined {
    return this.channel.mirror.changedAt(agentId);
  }

  /** Events that came and went at the server while this page was away. */
  get missed(): number {
    return this.channel.mirror.missed;
  }

  /** Calls back whenever an agent, the status or the count of missed events changed. */
  subscribe(call: () => void): () => void {
    return this.#keep(this.channel.changes.add(call));
  }

  /** Calls back when one agent changes, comes or goes. */
  subscribeAgent(agentId: string, call: () => void): () => void {
    return this.#keep(this.channel.onAgent(agentId, call));
  }

  /** Calls back with each event, once, in its agent's order, after the state that it came after. */
  onEvent(call: (event: PipelineEvent) => void): () => void {
    return this.#keep(this.channel.events.add(call));
  }

  /** Calls back when the view becomes live, stale or refused. */
  onStatus(call: (change: StatusChange) => void): () => void {
    return this.#keep(this.channel.statuses.add(call));
  }

  /** Calls back with each frame, once it is applied and all else has been called: what it was, and how old. */
  onFrame(call: (frame: ReceivedFrame) => void): () => void {
    return this.#keep(this.channel.frames.add(call));
  }

  /** How many bytes a snapshot of what is shown now would be: what a resume saves. Costs as much as making one. */
  snapshotBytes(): number {
    return this.channel.snapshotBytes();
  }

  /** Ends it: its callbacks are called no more; with the last view of a channel the subscription ends. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const off of this.#offs) off();
    this.#offs.clear();
    this.left();
  }

  #keep(off: () => void): () => void {
    if (this.#isClosed) {
      off();
      return () => {};
    }
    const once = (): void => {
      off();
      this.#offs.delete(once);
    };
    this.#offs.add(once);
    return once;
  }
}
