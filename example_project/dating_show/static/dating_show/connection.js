/**
 * The socket to the villa, in the classic protocol: it connects again by itself, keeps a clock of the
 * server by its pongs, and measures how old each update is when it arrives.
 *
 * Events (CustomEvent): `state` {agentId, data}, `removed` {agentId}, `happening` {agentId, kind, data, timestamp},
 * `notice` {level, message, timestamp}, `queued` {agentId, action}, `refused` {message, code},
 * `status` {state, retryInMs}, `age` {ms}, `settled` {agentIds} (who is here after a reconnect).
 */

const CHANNELS = ["dating_show_updates", "agent_notifications"];
const STATES = new Set(["state_change", "state_patch"]);
const PING_MS = 5000;
const SILENCE_MS = 13000;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 20000;
const SETTLE_MS = 2500;

/** Unix seconds with a fraction of microseconds, which Date.now() has not. */
export function nowS() {
  return (performance.timeOrigin + performance.now()) / 1000;
}

export class VillaConnection extends EventTarget {
  #url;
  #socket = null;
  #attempt = 0;
  #retry = 0;
  #pinger = 0;
  #settle = 0;
  #heardAt = 0;
  #bornAt = Infinity;
  #clocks = [];
  #seen = new Set();

  constructor(path) {
    super();
    this.#url = new URL(path, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    addEventListener("online", () => this.connect());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !this.isOpen) this.connect();
    });
  }

  get isOpen() {
    return this.#socket !== null && this.#socket.readyState === WebSocket.OPEN;
  }

  /** Opens the socket now, unless it is open or opening. */
  connect() {
    clearTimeout(this.#retry);
    if (this.#socket !== null && this.#socket.readyState <= WebSocket.OPEN) return;
    this.#tell("status", { state: "connecting" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#bornAt = Infinity;
    socket.addEventListener("open", () => this.#opened(socket));
    socket.addEventListener("message", (message) => this.#received(socket, message.data));
    socket.addEventListener("close", () => this.#closed(socket));
  }

  /** Closes and opens again, so that the server sees the cookies of now. */
  reconnect() {
    const old = this.#socket;
    this.#socket = null;
    this.#attempt = 0;
    if (old !== null) old.close(1000);
    this.connect();
  }

  /** Asks for an action; false when nothing is connected. The answer is a `queued` or `refused`. */
  act(agentId, action, params) {
    return this.#send({ type: "agent_action", agent_id: agentId, action, params });
  }

  #send(frame) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    this.#heardAt = performance.now();
    this.#clocks = [];
    this.#seen.clear();
    this.#send({ type: "subscribe", channels: CHANNELS });
    this.#ping();
    setTimeout(() => this.#ping(), 250);
    clearInterval(this.#pinger);
    this.#pinger = setInterval(() => {
      if (performance.now() - this.#heardAt > SILENCE_MS) socket.close(4000);
      else this.#ping();
    }, PING_MS);
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#tell("settled", { agentIds: new Set(this.#seen) }), SETTLE_MS);
  }

  #closed(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearInterval(this.#pinger);
    clearTimeout(this.#settle);
    // Full jitter: a thousand pages that lost one server must not come back in one wave.
    const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempt);
    const waitMs = 150 + Math.random() * ceiling;
    this.#attempt += 1;
    this.#tell("status", { state: "offline", retryInMs: waitMs });
    this.#retry = setTimeout(() => this.connect(), waitMs);
  }

  #ping() {
    this.#send({ type: "ping", timestamp: nowS() });
  }

  #received(socket, text) {
    if (socket !== this.#socket) return;
    this.#heardAt = performance.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    switch (frame.type) {
      case "connection_established":
        this.#attempt = 0;
        this.#bornAt = frame.timestamp;
        this.#tell("status", { state: "live" });
        break;
      case "pong":
        this.#setClock(frame);
        break;
      case "agent_update":
        this.#measure(frame.timestamp);
        this.#update(frame);
        break;
      case "system_notification":
        this.#measure(frame.timestamp);
        this.#tell("notice", frame);
        break;
      case "action_queued":
        this.#tell("queued", { agentId: frame.agent_id, action: frame.action });
        break;
      case "error":
        this.#tell("refused", { message: frame.message, code: frame.code });
        break;
      default: // What a later server adds is not for this page.
    }
  }

  #update(frame) {
    const agentId = frame.agent_id;
    if (STATES.has(frame.update_type)) {
      this.#seen.add(agentId);
      this.#tell("state", { agentId, data: frame.data });
    } else if (frame.update_type === "state_removed") {
      this.#seen.delete(agentId);
      this.#tell("removed", { agentId });
    } else {
      this.#tell("happening", { agentId, kind: frame.update_type, data: frame.data, timestamp: frame.timestamp });
    }
  }

  #setClock({ timestamp, server_time: serverTime }) {
    const now = nowS();
    if (typeof timestamp !== "number" || typeof serverTime !== "number") return;
    this.#clocks.push({ trip: now - timestamp, offset: serverTime - (timestamp + now) / 2 });
    if (this.#clocks.length > 12) this.#clocks.shift();
  }

  /** How old an update is: server's clock by the pong with the shortest trip, whose error is at most half of it. */
  #measure(timestamp) {
    // What was queued before this socket was born is the picture of now, not news: its age says nothing.
    if (typeof timestamp !== "number" || this.#clocks.length === 0 || timestamp < this.#bornAt) return;
    const best = this.#clocks.reduce((one, two) => (two.trip < one.trip ? two : one));
    this.#tell("age", { ms: Math.max(0, (nowS() + best.offset - timestamp) * 1000) });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
