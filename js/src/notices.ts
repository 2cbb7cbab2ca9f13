/** What is said to every connection, on a channel of its own that nobody subscribes to. */

import type { PipelineEvent, SyncFrame } from "./frames.js";

export const SYSTEM_CHANNEL = "update_pipeline.system";

export interface Notification {
  readonly level: string;
  readonly message: string;
  readonly timestamp: number;
}

/**
 * Where this client stands in that channel. Each socket begins it anew, at the head; what was said while there was no
 * line comes after it, because this client asks. So a `reset` of the epoch that is known moves nothing.
 */
export class Notices {
  #epoch = "";
  #offset = 0;

  since(): { epoch: string; offset: number; view: string } | undefined {
    return this.#epoch !== "" ? { epoch: this.#epoch, offset: this.#offset, view: "" } : undefined;
  }

  /** What is new in a frame, in order. */
  take(frame: SyncFrame): Notification[] {
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
}

function notification({ data, timestamp }: PipelineEvent): Notification {
  return { level: String(data.level ?? "info"), message: String(data.message ?? ""), timestamp };
}
