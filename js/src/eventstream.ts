/**
 * The same frames by server-sent events, for who can't or may not use a WebSocket.
 *
 * Nothing can be sent up such a line: a change of subscriptions opens another response, from the positions that the
 * last event gave; pings are answered here, for as long as the server's heartbeat comes; acknowledgements are not
 * asked for; actions are refused.
 */

import type { Position } from "./frames.js";
import { SYSTEM_CHANNEL } from "./notices.js";
import type { Handlers, Line, Transport } from "./transport.js";

/** The server's heartbeat comes every 15 s: after three of them that did not, the line is dead. */
const SILENCE_MS = 45_000;

/** What a status of HTTP says in the words of the socket; others may pass by themselves. */
const CLOSE_CODE_OF = new Map([
  [401, 4401],
  [429, 4429],
]);

const FORBIDDEN = 403;

interface Wanted {
  fields: readonly string[] | null;
  position: string | null; // "epoch:offset", and ":view" unless it is the whole channel
  isConfirmed: boolean;
}

type Subscribe = {
  channels: string[];
  since?: { [channel: string]: Position };
  fields?: { [channel: string]: string[] };
};

export function eventStreamTransport(
  url: string,
  fetcher: typeof fetch = (...call) => fetch(...call),
  now: () => number = () => performance.now(),
): Transport {
  return { open: (handlers) => new StreamLine(url, fetcher, now, handlers) };
}

class StreamLine implements Line {
  /** Every line is on the system's channel. */
  #wanted = new Map<string, Wanted>([[SYSTEM_CHANNEL, { fields: null, position: null, isConfirmed: false }]]);
  #questions: string[][] = []; // subscriptions that no event has answered yet
  #response: AbortController | null = null;
  #isDue = false;
  #isClosed = false;
  #heardAt: number;

  constructor(
    private readonly url: string,
    private readonly fetcher: typeof fetch,
    private readonly now: () => number,
    private readonly handlers: Handlers,
  ) {
    this.#heardAt = now();
    // It can't know what to ask for before the client has subscribed, so to the client it is open at once.
    this.#later(() => {
      this.#say({ type: "connection_established" });
      this.#ask();
    });
  }

  send(text: string): void {
    const frame = JSON.parse(text) as { type: string; [name: string]: unknown };
    switch (frame.type) {
      case "subscribe":
        this.#subscribe(frame as unknown as Subscribe);
        break;
      case "unsubscribe":
        for (const name of frame.channels as string[]) this.#wanted.delete(name);
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
      default: // acknowledgements, which nobody asked for
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#response?.abort();
  }

  #subscribe({ channels, since = {}, fields = {} }: Subscribe): void {
    for (const name of channels) {
      const at = Object.hasOwn(since, name) ? since[name] : undefined;
      this.#wanted.set(name, {
        fields: Object.hasOwn(fields, name) ? fields[name]! : null,
        position: at === undefined ? null : positionText(at),
        isConfirmed: false,
      });
    }
    this.#questions.push(channels);
    this.#ask();
  }

  /** Asks anew, once for all that changed in this turn. */
  #ask(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#later(() => {
      this.#isDue = false;
      this.#response?.abort();
      this.#response = null;
      void this.#read(new AbortController());
    });
  }

  async #read(response: AbortController): Promise<void> {
    this.#response = response;
    this.#heardAt = this.now();
    const names = [...this.#wanted.keys()];
    const own = names.filter((name) => name !== SYSTEM_CHANNEL); // every stream is on that one
    const query = new URLSearchParams({ channels: (own.length > 0 ? own : names).join(",") });
    for (const [name, { fields }] of this.#wanted) if (fields !== null) query.append("fields", `${name}:${fields.join(",")}`);
    const since = [...this.#wanted].flatMap(([name, { position }]) => (position === null ? [] : [`${name}=${position}`]));
    if (since.length > 0) query.set("since", since.join(","));
    try {
      const options: RequestInit = { signal: response.signal, cache: "no-store", credentials: "include" }; // as a WebSocket
      const answer = await this.fetcher(`${this.url}?${query}`, options);
      if (this.#response !== response) return;
      if (answer.status === FORBIDDEN) {
        this.#response = null;
        this.#answer(new Map());
        return;
      }
      if (answer.status !== 200 || answer.body === null) {
        this.#end(CLOSE_CODE_OF.get(answer.status) ?? 1006, `HTTP ${answer.status}`);
        return;
      }
      let text = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (this.#response !== response) return;
        if (done) break;
        this.#heardAt = this.now();
        const events = (text + value).split("\n\n");
        text = events.pop()!;
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

  #event(text: string): void {
    const fields = new Map<string, string>();
    for (const line of text.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
    }
    const data = fields.get("data");
    if (data === undefined) return; // a heartbeat
    if (fields.get("event") === "close") {
      const { code, reason } = JSON.parse(data) as { code: number; reason: string };
      this.#end(code, reason);
      return;
    }
    const id = fields.get("id");
    if (id === undefined) {
      this.handlers.message(data);
      return;
    }
    const positions = new Map(id.split(",").map((part) => part.split("=") as [string, string]));
    this.#answer(positions);
    for (const [name, position] of positions) {
      const wanted = this.#wanted.get(name);
      // Of whose snapshot not all has come the position is still the one that was asked with.
      if (wanted !== undefined && position !== "-") wanted.position = position;
    }
    this.handlers.message(data);
  }

  /** Each event names the channels that this client is on: the answer to what was asked, and to what was withdrawn. */
  #answer(positions: ReadonlyMap<string, string>): void {
    const isLost = (name: string): boolean => name !== SYSTEM_CHANNEL && !positions.has(name);
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

  #end(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#response?.abort();
    this.#response = null;
    this.handlers.closed(code, reason);
  }

  #say(frame: object): void {
    if (!this.#isClosed) this.handlers.message(JSON.stringify(frame));
  }

  #later(call: () => void): void {
    queueMicrotask(() => {
      if (!this.#isClosed) call();
    });
  }
}

/** A position as it stands in an event's id. */
function positionText({ epoch, offset, view }: Position): string {
  return view === "" ? `${epoch}:${offset}` : `${epoch}:${offset}:${encodeURIComponent(view)}`;
}

/**
 * The first transport, or the second where the first does not work: after two lines of the first in a row that the
 * server did not greet they take turns, and once the second has worked, after one.
 *
 * A server that restarts is away for both. So where the first has worked on this page, a greeting through the second
 * says that the server is back, and is left for one more attempt of the first; only if that fails does the second stay.
 */
export function withFallback(first: Transport, second: Transport): Transport {
  let patience = 2;
  let attempts = 0; // since a server has greeted
  let isFirstToTry = false; // it has worked since the second was last left for it
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
        closed: (code, reason) => handlers.closed(code, reason),
      });
      return line;
    },
  };
}
