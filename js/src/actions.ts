/** Actions that wait for their answers. */

import { ActionError } from "./errors.js";
import type { Json } from "./frames.js";
import type { Surroundings } from "./surroundings.js";

interface Waiting {
  frame: object;
  isSent: boolean;
  resolve(): void;
  reject(error: ActionError): void;
}

export class Actions {
  #next = 1;
  #waiting = new Map<number, Waiting>();

  constructor(
    private readonly around: Surroundings,
    private readonly send: (frame: object) => boolean,
  ) {}

  /** Sends an action, once there is a line; the promise ends with its answer, and at the latest after `withinMs`. */
  act(agentId: string, action: string, params: { [name: string]: Json }, withinMs: number): Promise<void> {
    const id = this.#next++;
    const frame = { type: "agent_action", agent_id: agentId, action, params, id };
    return new Promise((resolve, reject) => {
      const stop = this.around.later(() => {
        const { isSent } = waiting;
        const text = isSent ? "was not answered in time; it may have been done" : "was not sent: there was no line";
        waiting.reject(new ActionError("no_answer", `${action} ${text}`));
      }, withinMs);
      const end = (how: () => void): void => {
        stop();
        if (this.#waiting.delete(id)) how();
      };
      const waiting: Waiting = {
        frame,
        isSent: false,
        resolve: () => end(resolve),
        reject: (error) => end(() => reject(error)),
      };
      this.#waiting.set(id, waiting);
      waiting.isSent = this.send(frame);
    });
  }

  /** A line is open: what waited for one is sent. */
  lineOpened(): void {
    for (const waiting of this.#waiting.values()) waiting.isSent ||= this.send(waiting.frame);
  }

  /** An answer came; false if it is none of ours. */
  answered(frame: { [name: string]: unknown }): boolean {
    const waiting = typeof frame.id === "number" ? this.#waiting.get(frame.id) : undefined;
    if (waiting === undefined) return false;
    if (frame.type === "action_queued") waiting.resolve();
    else waiting.reject(new ActionError(String(frame.code), String(frame.message)));
    return true;
  }

  /** The line is gone: what was sent over it may have been done or not, so it is not sent again. */
  lineLost(): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.isSent) waiting.reject(new ActionError("connection_lost", "the line broke before an answer came"));
    }
  }

  close(): void {
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new ActionError("client_closed", "the client was closed before an answer came"));
    }
  }
}
