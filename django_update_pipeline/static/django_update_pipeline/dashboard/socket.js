/**
 * The admin socket: commands with answers, what comes by itself, and how the line is.
 *
 * Events (CustomEvent): `line` {state, text, at} and `frame` (a frame that answers nothing). States:
 *   connecting, open, offline (it tries again by itself), refused (it does not: the visitor must do something).
 */

import { field, text } from "./fields.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15000;
const ANSWER_MS = 10000;
const CONNECT_MS = 10000;

/** Close codes after which trying again can't help, in the words of the page. */
const FINAL = new Map([
  [4001, "Your log-in ended, or the permission was withdrawn."],
  [4401, "You are not signed in any more."],
  [4403, "You may not look at this any more, or this address is not allowed to."],
  [4404, "No admin socket is served at this page's path."],
]);

/** A command that was refused, or got no answer. */
export class CommandFailed extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class AdminSocket extends EventTarget {
  #url;
  #socket = null;
  #attempt = 0;
  #retry = 0;
  #nextId = 1;
  #waiting = new Map();

  constructor(path) {
    super();
    this.#url = new URL(path, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    addEventListener("online", () => this.connect());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.#retry) this.connect();
    });
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Opens the socket now, unless it is open or opening. */
  connect() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    if (this.#socket !== null && this.#socket.readyState <= WebSocket.OPEN) return;
    this.#tell("connecting", "Connecting");
    const socket = new WebSocket(this.#url);
    let wasOpen = false;
    const patience = setTimeout(() => socket.close(), CONNECT_MS);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      wasOpen = true;
      clearTimeout(patience);
    });
    socket.addEventListener("message", (message) => this.#received(socket, message.data));
    socket.addEventListener("close", ({ code }) => {
      clearTimeout(patience);
      this.#closed(socket, code, wasOpen);
    });
  }

  /** Drops a line on which nothing comes any more, and opens another. */
  reconnect() {
    this.#socket?.close(1000);
    this.#lost("Nothing came any more");
  }

  /** Sends a command; its answer's data, or a CommandFailed. */
  ask(command, params = {}) {
    if (!this.isOpen) return Promise.reject(new CommandFailed("offline", "There is no connection at the moment."));
    const id = this.#nextId++;
    this.#socket.send(JSON.stringify({ command, params, id }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new CommandFailed("timeout", "The server gave no answer in time."));
      }, ANSWER_MS);
      this.#waiting.set(id, { resolve, reject, timer });
    });
  }

  /** Ends it: the visitor may not, or no longer. */
  refuse(why) {
    clearTimeout(this.#retry);
    this.#retry = 0;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#giveUpWaiting();
    this.#tell("refused", why);
  }

  #received(socket, data) {
    if (socket !== this.#socket) return;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // Not from our server, or cut short: it can mean nothing.
    }
    const waiter = this.#waiting.get(field(frame, "id"));
    if (waiter !== undefined) {
      this.#waiting.delete(frame.id);
      clearTimeout(waiter.timer);
      if (text(frame, "type") === "error") waiter.reject(new CommandFailed(text(frame, "code"), text(frame, "message")));
      else waiter.resolve(frame);
      return;
    }
    if (text(frame, "type") === "admin_connected") {
      this.#attempt = 0;
      this.#tell("open", "Connected");
    }
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  async #closed(socket, code, wasOpen) {
    if (socket !== this.#socket) return;
    if (FINAL.has(code)) {
      this.refuse(FINAL.get(code));
      return;
    }
    // A handshake that is refused reaches a page as 1006, like a server that is gone: the page itself knows which.
    const why = wasOpen ? "The connection was lost" : await this.#whyNot();
    if (socket === this.#socket) this.#lost(why);
  }

  /** Why a handshake failed; refuses by itself if this page may not be looked at any more. */
  async #whyNot() {
    try {
      const page = await fetch(location.href, { method: "HEAD", redirect: "manual", cache: "no-store" });
      if (page.type === "opaqueredirect" || page.status === 401) this.refuse("You are not signed in any more.");
      else if (page.status === 403) this.refuse("You may not look at this any more.");
      return page.ok ? `The server answers, but not at ${this.#url.pathname}` : "The server can't answer";
    } catch {
      return "The server can't be reached";
    }
  }

  #lost(why) {
    this.#socket = null;
    this.#giveUpWaiting();
    // Full jitter: the pages that lost one server must not come back in one wave.
    const waitMs = 300 + Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.connect(), waitMs);
    this.#tell("offline", why);
  }

  #giveUpWaiting() {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of waiting) {
      clearTimeout(timer);
      reject(new CommandFailed("offline", "The connection was lost before an answer came; look before you try again."));
    }
  }

  #tell(state, why) {
    this.dispatchEvent(new CustomEvent("line", { detail: { state, why } }));
  }
}
