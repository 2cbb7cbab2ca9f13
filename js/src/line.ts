/**
 * Keeps one line open: connects, notices that it is dead, comes back after a pause that grows and is random all the
 * way (a thousand pages that lost one server must not come back in one wave), and knows when not to.
 */

import { CLOSE_CODES } from "./close-codes.js";
import type { ServerClock } from "./serverclock.js";
import type { Surroundings } from "./surroundings.js";
import type { Line, Transport } from "./transport.js";

export interface LineOptions {
  /** The first pause is random up to this; each further one up to twice as much. 500 by default. */
  backoffBaseMs: number;
  /** No pause is longer. 20,000 by default. */
  backoffCapMs: number;
  /** A ping is sent so often. 15,000 by default. */
  pingEveryMs: number;
  /** How long the server may take for its greeting, or a pong; then the line counts as dead. 10,000 by default. */
  answerWithinMs: number;
}

export const LINE_DEFAULTS: LineOptions = {
  backoffBaseMs: 500,
  backoffCapMs: 20_000,
  pingEveryMs: 15_000,
  answerWithinMs: 10_000,
};

/** A line that held for so long was good: the next pause is a short one again. */
export const STEADY_MS = 5_000;

/** `waiting`: between two attempts; `closed`: it does not come back by itself. */
export type LineState = "connecting" | "open" | "waiting" | "closed";

export interface LineStatus {
  readonly state: LineState;
  /** The close code that led here, 1006 where the line just broke; 0 if there was none. */
  readonly code: number;
  readonly reason: string;
  /** In state `waiting`: how long. */
  readonly retryInMs: number;
}

/** So much may come unread: more than a server's window holds, so that one that goes by it is never cut off. */
export const UNREAD_CHARS = 1_000_000;

/** A frame of the server, parsed, and its text. */
export type Receive = (frame: { [name: string]: unknown }, text: string) => void;

export interface Owner {
  /** The server has greeted: the line is open. */
  opened(): void;
  receive: Receive;
  /** The line is not open any more, or the wait for the next has begun, or it ended for good. */
  changed(status: LineStatus): void;
}

const FIRST: LineStatus = { state: "connecting", code: 0, reason: "", retryInMs: 0 };

export class LineKeeper {
  status: LineStatus = FIRST;
  #line: Line | null = null;
  #attempt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #unread: string[] | null = null; // while it is paused: what has come
  #unreadChars = 0;
  #isOwed = false; // the line broke while it was paused
  #timers = new Map<string, () => void>();

  constructor(
    private readonly transport: Transport,
    private readonly options: LineOptions,
    private readonly clock: ServerClock,
    private readonly around: Surroundings,
    private readonly owner: Owner,
  ) {}

  get isOpen(): boolean {
    return this.status.state === "open";
  }

  get isPaused(): boolean {
    return this.#unread !== null;
  }

  /** Reads nothing, asks nothing and opens nothing until `resume`. */
  pause(): void {
    if (this.#unread !== null) return;
    this.#unread = [];
    this.#unreadChars = 0;
    this.#isOwed = this.status.state === "waiting";
    this.#stopTimers();
  }

  resume(): void {
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
    // Acknowledgements first: a server closes who talks while one is overdue.
    if (wasOpen && this.#line === line && !this.isPaused) this.#begin();
  }

  /** Opens a line now, also where it had ended for good. */
  connect(): void {
    if (this.#line !== null) return;
    this.#stopTimers();
    this.clock.reset();
    this.#set({ ...FIRST });
    if (this.status.state !== "connecting" || this.#line !== null) return; // a listener had another idea
    const line: Line = this.transport.open({
      message: (text) => this.#message(line, text),
      closed: (code, reason) => this.#line === line && this.#ended(code, reason),
    });
    this.#line = line;
    this.#isOwed = false;
    if (!this.isPaused) this.#awaitGreeting();
  }

  #awaitGreeting(): void {
    this.#after("answer", this.options.answerWithinMs, () => this.fail("no greeting came"));
  }

  /** The network or the page is back: ends a wait, and looks whether an open line is alive. */
  wake(): void {
    if (this.isPaused) return;
    if (this.status.state === "waiting") this.connect();
    else if (this.isOpen) this.#ping();
  }

  send(frame: object): boolean {
    if (this.#line === null || !this.isOpen) return false;
    this.#line.send(JSON.stringify(frame));
    return true;
  }

  /** Gives the line up and comes back with another. */
  fail(reason: string): void {
    if (this.#line === null) return;
    this.#line.close();
    this.#ended(1006, reason);
  }

  /** Closes for good. */
  close(): void {
    this.#line?.close();
    this.#line = null;
    this.#isOwed = false;
    this.#forgetUnread();
    this.#stopTimers();
    if (this.status.state !== "closed") this.#set({ state: "closed", code: 1000, reason: "", retryInMs: 0 });
  }

  #message(line: Line, text: string): void {
    if (this.#line !== line) return;
    if (this.#unread !== null) {
      this.#unread.push(text);
      this.#unreadChars += text.length;
      if (this.#unreadChars > UNREAD_CHARS) this.fail("too much came that was not read");
      return;
    }
    this.#heardAt = this.around.now();
    let frame: unknown;
    try {
      frame = JSON.parse(text);
    } catch {
      frame = null;
    }
    if (typeof frame !== "object" || frame === null || Array.isArray(frame)) {
      this.fail("the server sent what is no JSON object");
      return;
    }
    const fields = frame as { [name: string]: unknown };
    if (fields.type === "connection_established") this.#greeted(fields);
    else if (fields.type === "pong") this.#pong(fields);
    else this.#hand(fields, text);
  }

  #hand(frame: { [name: string]: unknown }, text: string): void {
    try {
      this.owner.receive(frame, text);
    } catch (error) {
      this.around.report(error);
      this.fail("a frame could not be understood"); // and comes back from where it is sure to be
    }
  }

  #greeted(frame: { [name: string]: unknown }): void {
    if (typeof frame.timestamp === "number") this.clock.heard(this.#heardAt, frame.timestamp);
    if (this.isOpen) return;
    this.#stopTimers();
    this.#set({ state: "open", code: 0, reason: "", retryInMs: 0 });
    if (!this.isOpen) return;
    this.#begin();
    this.owner.opened();
  }

  /** Looks after an open line. */
  #begin(): void {
    this.#after("steady", STEADY_MS, () => {
      this.#attempt = 0;
    });
    this.#ping();
  }

  #ping(): void {
    this.#pingedAt = this.around.now();
    this.send({ type: "ping", timestamp: this.#pingedAt });
    this.#after("ping", this.options.pingEveryMs, () => this.#ping());
    this.#after("answer", Math.min(this.options.answerWithinMs, this.options.pingEveryMs), () => {
      if (this.#heardAt < this.#pingedAt) this.fail("nothing came any more");
    });
  }

  #pong(frame: { [name: string]: unknown }): void {
    if (typeof frame.timestamp !== "number" || typeof frame.server_time !== "number") return;
    this.clock.pong(frame.timestamp, this.#heardAt, frame.server_time);
  }

  #ended(code: number, reason: string): void {
    this.#line = null;
    this.#forgetUnread(); // it is sent again, as far as it is still true
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

  #forgetUnread(): void {
    if (this.#unread !== null) this.#unread = [];
    this.#unreadChars = 0;
  }

  #set(status: LineStatus): void {
    this.status = status;
    this.owner.changed(status);
  }

  #after(name: string, ms: number, call: () => void): void {
    this.#timers.get(name)?.();
    this.#timers.set(name, this.around.later(call, ms));
  }

  #stopTimers(): void {
    for (const stop of this.#timers.values()) stop();
    this.#timers.clear();
  }
}
