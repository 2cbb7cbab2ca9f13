/** One socket for many subscriptions: who wants what, what the server was asked, and what it answered. */

import { Actions } from "./actions.js";
import { ageOf, Channel, type ViewSnapshot } from "./channel.js";
import { type Fields, type Json, type SyncFrame, utf8Length } from "./frames.js";
import { Keeping } from "./keeping.js";
import { LINE_DEFAULTS, LineKeeper, type LineOptions, type LineStatus } from "./line.js";
import { Listeners } from "./listeners.js";
import { Notices, type Notification, SYSTEM_CHANNEL } from "./notices.js";
import { ServerClock } from "./serverclock.js";
import { eventStreamTransport, withFallback } from "./eventstream.js";
import type { KeyValueStorage } from "./storage.js";
import { browserSurroundings, type Surroundings } from "./surroundings.js";
import { socketUrl, streamUrl, type Transport, webSocketTransport } from "./transport.js";
import { View } from "./view.js";

export interface ClientOptions extends Partial<LineOptions> {
  /** Keeps what is shown, and where it stands, over a reload: `sessionStorage`. Nothing is kept by default. */
  storage?: KeyValueStorage;
  /** Whose copy it is, where several users share a storage: what is kept for one is never shown to another. */
  storageOwner?: string;
  /** How long an action may take. 10,000 by default. */
  actionTimeoutMs?: number;
  /** How long a channel that nobody uses any more is kept, for one who comes back at once. 1,000 by default. */
  lingerMs?: number;
  /** How frames travel: by default over a WebSocket, or as server-sent events where that does not work. */
  transport?: Transport;
  /** Another implementation of WebSocket than the browser's. */
  WebSocket?: typeof WebSocket;
  /** Clock, dice and page; for tests. */
  surroundings?: Surroundings;
}

/**
 * Something went wrong which no action asked for: the server says so, or the client, which knows what the server would
 * say. `code` is one of the server's error codes.
 */
export interface ServerError {
  readonly code: string;
  readonly message: string;
}

/** So many channels are named in one frame. */
const PER_FRAME = 50;

/** The server's code for a frame with a field of a wrong type or value. */
const INVALID_FIELD = "invalid_field";

/** After these the server would not show any more what is shown, so it is taken off the screen and out of the storage. */
const NOT_ALLOWED = new Set([4001, 4401, 4403]);

function ordinaryTransport(url: string, implementation: typeof WebSocket | undefined): Transport {
  const socket = webSocketTransport(socketUrl(url), implementation);
  return withFallback(socket, eventStreamTransport(streamUrl(url)));
}

interface Question {
  channels: Channel[];
  notices: object | undefined;
  stop(): void;
}

export class Client {
  readonly #options: ClientOptions;
  readonly #around: Surroundings;
  readonly #clock = new ServerClock();
  readonly #keeper: LineKeeper;
  readonly #actions: Actions;
  readonly #notices = new Notices();
  readonly #keeping: Keeping;
  readonly #channels = new Map<string, Channel>();
  readonly #toAsk = new Set<Channel>();
  #questions: Question[] = [];
  readonly #leaving = new Map<string, number>(); // by channel: `unsubscribe` frames not confirmed yet
  readonly #stopListening: () => void;
  readonly #statuses: Listeners<LineStatus>;
  readonly #notifications: Listeners<Notification>;
  readonly #errors: Listeners<ServerError>;
  #repaired = 0; // not reported yet
  #isClosed = false;

  constructor(url: string, options: ClientOptions = {}) {
    this.#options = options;
    this.#around = options.surroundings ?? browserSurroundings();
    const report = (error: unknown): void => this.#around.report(error);
    this.#statuses = new Listeners(report);
    this.#notifications = new Listeners(report);
    this.#errors = new Listeners(report);
    const owner = JSON.stringify([url, options.storageOwner ?? ""]);
    this.#keeping = new Keeping(options.storage, owner, this.#around);
    const transport = options.transport ?? ordinaryTransport(url, options.WebSocket);
    const given = Object.entries(options).filter(([name, value]) => name in LINE_DEFAULTS && value !== undefined);
    const lineOptions: LineOptions = { ...LINE_DEFAULTS, ...Object.fromEntries(given) };
    this.#keeper = new LineKeeper(transport, lineOptions, this.#clock, this.#around, {
      opened: () => this.#opened(),
      receive: (frame, text) => this.#received(frame, text),
      changed: (status) => this.#lineChanged(status),
    });
    this.#actions = new Actions(this.#around, (frame) => this.#keeper.send(frame));
    this.#stopListening = this.#around.listen((what) => (what === "wake" ? this.#keeper.wake() : this.#keeping.keep()));
    this.#keeper.connect();
  }

  /** How the line is: another object whenever that changes. */
  get status(): LineStatus {
    return this.#keeper.status;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The server's time in Unix seconds, estimated; null while nothing came from it. */
  get serverTime(): number | null {
    return this.#clock.at(this.#around.now());
  }

  onStatus(call: (status: LineStatus) => void): () => void {
    return this.#statuses.add(call);
  }

  /** What the server says to everybody. */
  onNotification(call: (notification: Notification) => void): () => void {
    return this.#notifications.add(call);
  }

  /** What went wrong at the server without being an action's answer. */
  onError(call: (error: ServerError) => void): () => void {
    return this.#errors.add(call);
  }

  /**
   * A channel's live copy. Close the view when it is not needed: with its last user the subscription ends.
   *
   * `fields` asks for some top-level fields of each agent only. Users of one channel share a view, which has what any
   * of them asked for; one who asks for no fields asks for all. What the server shows may be less, and may change:
   * `View.fields` and `View.hasEvents`.
   */
  channel(name: string, options: { fields?: readonly string[] } = {}): View {
    if (this.#isClosed) throw new Error("the client is closed: connect() makes another one");
    let channel = this.#channels.get(name);
    const isNew = channel === undefined;
    if (channel === undefined) {
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
  peek(name: string): ViewSnapshot | undefined {
    return this.#channels.get(name)?.snapshot;
  }

  /** An agent of a channel as it is shown now, without becoming a user of it. */
  peekAgent(name: string, agentId: string): Fields | undefined {
    return this.#channels.get(name)?.mirror.get(agentId);
  }

  /** Asks the server for an action. Resolves once it was taken; rejects with an `ActionError`. */
  act(
    agentId: string,
    action: string,
    params: { [name: string]: Json } = {},
    options: { timeoutMs?: number } = {},
  ): Promise<void> {
    return this.#actions.act(agentId, action, params, options.timeoutMs ?? this.#options.actionTimeoutMs ?? 10_000);
  }

  get isPaused(): boolean {
    return this.#keeper.isPaused;
  }

  /**
   * Reads nothing any more: frames are neither applied nor acknowledged, so the server soon sends none, and the views
   * are stale. The line stays open; where it breaks, or far more comes than a server may send, it stays away until
   * `resume()`. For a page that nobody looks at, and to see what a slow reader sees.
   */
  pause(): void {
    if (this.#isClosed || this.isPaused) return;
    for (const { stop } of this.#questions) stop(); // the answers will not be read in time
    this.#keeper.pause();
    for (const channel of this.#channels.values()) channel.paused();
  }

  /** Reads again: what had come first, then what the server says has changed since. */
  resume(): void {
    if (this.#isClosed || !this.isPaused) return;
    const wasOpen = this.#keeper.isOpen;
    this.#keeper.resume(); // and acknowledges: who subscribes with an acknowledgement overdue is closed
    if (wasOpen && this.#keeper.isOpen) this.#askForAll();
  }

  /** Closes the line until `reconnect()`. What is shown stays, and is stale. */
  disconnect(): void {
    if (!this.#isClosed) this.#keeper.close();
  }

  /** Opens the line again, as after a log-in; at once if it waits for its next attempt. Ends a pause. */
  reconnect(): void {
    if (this.#isClosed) return;
    this.resume();
    this.#keeper.fail("asked to");
    this.#keeper.connect();
  }

  /** Ends it all: views are closed, actions that wait are rejected. What is kept stays for the next page. */
  close(): void {
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

  #ask(channel: Channel): void {
    if (this.#toAsk.size === 0) queueMicrotask(() => this.#askAll());
    this.#toAsk.add(channel);
  }

  #askAll(withNotices = false): void {
    const isMeant = (one: Channel): boolean => this.#channels.get(one.name) === one && !one.isImpossible;
    const channels = [...this.#toAsk].filter(isMeant);
    this.#toAsk.clear();
    if (!this.#keeper.isOpen || this.#keeper.isPaused) return; // an open line, and one that is read again, asks for everything
    let notices = withNotices ? this.#notices.since() : undefined;
    for (let at = 0; at < channels.length || notices !== undefined; at += PER_FRAME) {
      this.#subscribe(channels.slice(at, at + PER_FRAME), notices);
      notices = undefined;
    }
  }

  #askForAll(withNotices = false): void {
    this.#toAsk.clear();
    for (const channel of this.#channels.values()) this.#toAsk.add(channel);
    this.#askAll(withNotices);
  }

  #subscribe(channels: Channel[], notices?: object): void {
    const names = channels.map(({ name }) => name);
    const since: [string, object][] = [];
    const fields: [string, readonly string[]][] = [];
    for (const channel of channels) {
      const at = channel.since();
      if (at !== undefined) since.push([channel.name, at]);
      if (channel.fields !== null) fields.push([channel.name, channel.fields]);
      channel.asked();
    }
    if (notices !== undefined) {
      names.push(SYSTEM_CHANNEL);
      since.push([SYSTEM_CHANNEL, notices]);
    }
    const frame = { type: "subscribe", channels: names, since: Object.fromEntries(since), fields: Object.fromEntries(fields) };
    if (!this.#keeper.send(frame)) return;
    const withinMs = this.#options.answerWithinMs ?? LINE_DEFAULTS.answerWithinMs;
    const stop = this.#around.later(() => this.#keeper.fail("a subscription was not answered"), withinMs);
    this.#questions.push({ channels, notices, stop });
  }

  #left(channel: Channel, user: object): void {
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
    }, this.#options.lingerMs ?? 1_000);
  }

  // what comes

  #opened(): void {
    this.#askForAll(true);
    this.#actions.lineOpened();
  }

  #received(frame: { [name: string]: unknown }, text: string): void {
    switch (frame.type) {
      case "sync":
        this.#sync(frame as unknown as SyncFrame, text);
        break;
      case "subscription_confirmed":
        this.#confirmed(frame.channels as string[]);
        break;
      case "unsubscription_confirmed":
        for (const name of frame.channels as string[]) this.#takenOff(name);
        break;
      case "action_queued":
        this.#actions.answered(frame);
        break;
      case "error":
        if (!this.#actions.answered(frame)) this.#serverError({ code: String(frame.code), message: String(frame.message) });
        break;
      default: // a later server may say more
    }
  }

  #sync(frame: SyncFrame, text: string): void {
    this.#clock.heard(this.#around.now(), frame.ts);
    let ageMs: number | null = null;
    if (frame.channel === SYSTEM_CHANNEL) {
      for (const notification of this.#notices.take(frame)) this.#notifications.tell(notification);
      ageMs = ageOf(frame, this.serverTime);
    } else {
      ageMs = this.#apply(frame, text);
    }
    if (frame.ack) this.#acknowledge(frame, ageMs);
  }

  #apply(frame: SyncFrame, text: string): number | null {
    const channel = this.#channels.get(frame.channel);
    if (channel === undefined || !channel.isAsked || channel.isOfBefore) return null;
    const view = channel.mirror.view;
    const taken = channel.take(frame, utf8Length(text), () => this.serverTime);
    this.#repaired += taken?.repaired ?? 0;
    if ((taken === null || taken.isLost) && channel.unanswered === 0 && channel.isAsked) this.#subscribe([channel]);
    if (taken === null) return null;
    if (channel.mirror.view !== view) this.#keeping.remove(channel); // it may have what is hidden now
    this.#keeping.changed(channel);
    return taken.ageMs;
  }

  #acknowledge(frame: SyncFrame, ageMs: number | null): void {
    const age = ageMs === null ? {} : { age_ms: Math.round(ageMs * 100) / 100 };
    const repaired = this.#repaired > 0 ? { repaired: this.#repaired } : {};
    if (this.#keeper.send({ type: "ack", channel: frame.channel, offset: frame.to, ...age, ...repaired })) {
      this.#repaired = 0;
    }
  }

  #confirmed(names: string[]): void {
    const question = this.#questions.shift();
    if (question === undefined) return;
    question.stop();
    for (const channel of question.channels) {
      channel.answered();
      if (!names.includes(channel.name)) this.#refuse(channel);
    }
  }

  #serverError(error: ServerError): void {
    if (error.code !== INVALID_FIELD || this.#questions.length === 0) this.#errors.tell(error);
    else this.#notUnderstood(this.#questions.shift()!, error);
  }

  /**
   * The server refuses a frame whole, for one channel of it say, and will each time: halves are asked for, until that
   * channel is alone, and it is not asked for any more. What else is sent has no fields that could be wrong.
   */
  #notUnderstood({ channels, notices, stop }: Question, error: ServerError): void {
    stop();
    for (const channel of channels) channel.answered();
    if (channels.length < 2) {
      for (const channel of channels) this.#refuse(channel, true);
      if (notices !== undefined && channels.length > 0) this.#subscribe([], notices);
      this.#errors.tell(error);
      return;
    }
    const middle = Math.ceil(channels.length / 2);
    this.#subscribe(channels.slice(0, middle), notices);
    this.#subscribe(channels.slice(middle));
  }

  /** Says which fields are left out, where somebody listens or else to the page's console. */
  #cannotBeAsked(channel: Channel, names: readonly string[]): void {
    const shown = names.map((name) => JSON.stringify(name.slice(0, 100))).join(", ");
    const message = `fields of ${channel.name}: no projection may have ${shown}: give names of 1 to 100 characters without commas and control characters`;
    if (this.#errors.size === 0) this.#around.report(new Error(message));
    else this.#errors.tell({ code: INVALID_FIELD, message });
  }

  #takenOff(name: string): void {
    const asked = this.#leaving.get(name) ?? 0;
    if (asked > 1) this.#leaving.set(name, asked - 1);
    else this.#leaving.delete(name);
    const channel = this.#channels.get(name);
    if (asked === 0 && channel !== undefined) this.#refuse(channel); // the server did it: it may not be seen any more
  }

  #refuse(channel: Channel, isForGood = false): void {
    this.#keeping.forget(channel);
    if (isForGood) channel.cannotBe();
    else channel.refuse();
  }

  #lineChanged(status: LineStatus): void {
    if (status.state !== "open") {
      this.#dropQuestions();
      this.#leaving.clear();
      for (const channel of this.#channels.values()) channel.lineLost();
      if (status.state !== "connecting") this.#actions.lineLost();
      if (NOT_ALLOWED.has(status.code)) for (const channel of this.#channels.values()) this.#refuse(channel);
    }
    this.#statuses.tell(status);
  }

  #dropQuestions(): void {
    for (const { stop } of this.#questions) stop();
    this.#questions = [];
  }
}
