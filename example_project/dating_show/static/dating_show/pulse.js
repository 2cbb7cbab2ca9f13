/** The state of the line: connected or not, how old updates are when they arrive, how many a second. */

import { setText } from "./stage.js";

const KEPT = 120;
const SHOWN = 48;

export class Pulse {
  #ages = [];
  #count = 0;

  constructor(root, map) {
    this.part = (id) => root.getElementById(id);
    this.map = map;
    this.line = this.part("spark").firstElementChild;
    setInterval(() => this.#second(), 1000);
  }

  status({ state, retryInMs }) {
    this.part("status").dataset.state = state;
    const words = {
      live: "live",
      connecting: "connecting",
      offline: retryInMs > 1500 ? `offline, again in ${Math.round(retryInMs / 1000)} s` : "offline, trying again",
    };
    setText(this.part("status-text"), words[state]);
    // What is shown may no longer be true: it must not look as if it were.
    this.map.classList.toggle("stale", state !== "live");
  }

  age(ms) {
    this.#count += 1;
    this.#ages.push(ms);
    if (this.#ages.length > KEPT) this.#ages.shift();
  }

  #second() {
    setText(this.part("rate"), this.#count);
    this.#count = 0;
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
