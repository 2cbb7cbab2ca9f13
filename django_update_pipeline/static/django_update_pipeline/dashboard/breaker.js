/** The breaker: its state, a band of its states over the window of the charts, and the changes in words. */

import { make, part, setData, setText, svg } from "./dom.js";
import { WINDOW_S } from "./samples.js";
import { timeOfDay } from "./words.js";

const WORDS = new Map([["closed", "closed"], ["open", "open"], ["half_open", "half-open"]]);
const KEPT = 200;
const LISTED = 30;

export class Breaker {
  #lines = new Map();
  #spans = [];
  #state = "unknown";

  /** The state of one moment (Unix seconds), as a sample or a report has it. */
  seen(time, state) {
    if (!WORDS.has(state)) return;
    const last = this.#spans.at(-1);
    if (last !== undefined && time < last.to) return;
    if (last !== undefined && last.state === state && time - last.to < 10) last.to = time;
    else {
      // A change lies between two reports; over a hole nothing is known, and nothing is drawn.
      const from = last !== undefined && time - last.to < 10 ? last.to : time;
      this.#spans.push({ state, from, to: time });
    }
    while (this.#spans[0].to < time - WINDOW_S) this.#spans.shift();
    this.#state = state;
  }

  /** A change, told at once; each once, by its number. */
  changed({ number, before, after, cause, time }) {
    if (!WORDS.has(after)) return;
    const words = before === after ? WORDS.get(after) : `${WORDS.get(before) ?? before} → ${WORDS.get(after)}`;
    if (!this.#list({ number, time, words, why: cause })) return;
    this.seen(time, before);
    this.seen(time, after);
  }

  /** What an operator did, of whatever kind: it explains what is seen. */
  acted({ number, operator, command, result, time }) {
    this.#list({ number, time, words: command.replaceAll("_", " "), why: `${operator}: ${result}` });
  }

  #list(line) {
    if (this.#lines.has(line.number)) return false;
    this.#lines.set(line.number, line);
    if (this.#lines.size > KEPT) this.#lines.delete(Math.min(...this.#lines.keys()));
    return true;
  }

  /** Another process: what was is another's past. */
  forget() {
    this.#lines.clear();
    this.#spans = [];
  }

  /** Shows it over the charts' span. */
  show([from, now], mayReset) {
    setData(document.querySelector(".breaker"), "breaker", this.#state);
    setText(part("breaker-state"), WORDS.get(this.#state) ?? "–");
    const button = part("reset");
    if (button !== null) button.disabled = !mayReset || this.#state === "closed" || this.#state === "unknown";
    const at = (time) => (300 * Math.max(0, time - from)) / (now - from);
    const rectangles = this.#spans.filter((span) => span.to > from).map((span) =>
      svg("rect", { class: span.state, x: at(span.from), width: Math.max(0.8, at(span.to) - at(span.from)), y: 0, height: 10 }));
    setText(part("band-from"), `${Math.round((now - from) / 60)} min ago`);
    part("band").replaceChildren(...rectangles);
    const lines = [...this.#lines.values()].sort((one, two) => two.number - one.number).slice(0, LISTED);
    const key = lines.map(({ number }) => number).join();
    if (part("changes").dataset.key === key) return;
    part("changes").dataset.key = key;
    const items = lines.map(({ time, words, why }) =>
      make("li", {}, make("time", { text: timeOfDay(time) }), make("span", { class: "what", text: words }), make("span", { class: "why", text: why, title: why })));
    part("changes").replaceChildren(...(items.length > 0 ? items : [make("li", { class: "none", text: "No change of late." })]));
  }
}
