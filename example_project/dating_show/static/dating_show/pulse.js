/** What the page is worth, how old changes are when they arrive, how many a second and in how many bytes. */

import { bytes, seconds } from "./ages.js";
import { client, news, onWorth, villa, worth } from "./live.js";
import { setText } from "./stage.js";

const KEPT = 120;
const SHOWN = 48;

export class Pulse {
  #ages = [];
  #changes = 0;
  #bytes = 0;

  constructor(root, map, network) {
    this.part = (id) => root.getElementById(id);
    this.map = map;
    this.network = network;
    this.line = this.part("spark").firstElementChild;
    for (const view of [villa, news]) view.onFrame((frame) => this.#frame(frame));
    onWorth(() => this.#show());
    this.#show();
    setInterval(() => this.#second(), 1000);
  }

  #show() {
    const now = worth();
    this.part("status").dataset.state = now;
    const { retryInMs } = client.status;
    const words = {
      live: "live",
      loading: "connecting",
      connecting: "stale, connecting",
      paused: "stale, reading nothing",
      "catching-up": "catching up",
      offline: retryInMs > 1500 ? `stale, again in ${Math.round(retryInMs / 1000)} s` : "stale, no line",
    };
    setText(this.part("status-text"), words[now]);
    // What is shown may no longer be true: it must not look as if it were.
    this.map.classList.toggle("stale", now !== "live" && now !== "loading");
    document.body.classList.toggle("stale", now !== "live" && now !== "loading");
    this.#tellAge();
  }

  #tellAge() {
    const s = this.network.staleFor;
    const isStale = this.map.classList.contains("stale") && s !== null;
    this.part("as-of").hidden = !isStale;
    if (isStale) setText(this.part("as-of"), s < 1 ? "as it was a moment ago" : `as it was ${seconds(Math.floor(s)).replace(".0", "")} ago`);
  }

  #frame({ agents, events, bytes: size, ageMs }) {
    this.#changes += agents.length + events;
    this.#bytes += size;
    if (ageMs === null) return;
    this.#ages.push(ageMs);
    if (this.#ages.length > KEPT) this.#ages.shift();
  }

  #second() {
    this.#tellAge();
    setText(this.part("rate"), this.#changes);
    setText(this.part("flow"), bytes(this.#bytes));
    this.#changes = this.#bytes = 0;
    if (this.#ages.length === 0) return;
    const sorted = [...this.#ages].sort((one, two) => one - two);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    setText(this.part("latency"), words(at(0.5)));
    setText(this.part("latency-p95"), words(at(0.95)));
    const last = this.#ages.slice(-SHOWN);
    const top = Math.max(20, ...last);
    this.line.setAttribute(
      "points",
      last.map((ms, index) => `${((96 * index) / (SHOWN - 1)).toFixed(1)},${(23 - (22 * ms) / top).toFixed(1)}`).join(" "));
  }
}

function words(ms) {
  return ms < 10 ? ms.toFixed(1) : String(Math.round(ms));
}
