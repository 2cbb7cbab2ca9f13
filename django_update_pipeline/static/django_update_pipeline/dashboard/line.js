/**
 * How the line is, in the page's head: live only while reports come. What is not live is marked, with its age.
 *
 * Event: `resumed`, after a pause.
 */

import { part, setData, setText } from "./dom.js";
import { duration, timeOfDay } from "./words.js";

/** After so many intervals without a report what is shown is stale; after so many seconds another line is tried. */
const PATIENCE_INTERVALS = 3.5;
const GIVE_UP_S = 20;

const WORDS = new Map([["connecting", "Connecting"], ["open", "Connected"], ["live", "Live"], ["stale", "Stale"],
  ["offline", "Offline, trying again"], ["refused", "Refused"]]);

export class Line extends EventTarget {
  #socket;
  #interval;
  #state = "connecting";
  #why = "";
  #heardAt = null;
  #newest = null;
  #pausedAt = null;

  constructor(socket, intervalS) {
    super();
    this.#socket = socket;
    this.#interval = intervalS;
    socket.addEventListener("line", ({ detail }) => this.#became(detail.state, detail.why));
    part("pause").addEventListener("click", () => this.#pause());
    part("again").addEventListener("click", () => {
      if (this.#state === "refused") location.reload(); // It may lead to the log-in.
      else socket.connect();
    });
    setInterval(() => this.#tick(), 1000);
    document.addEventListener("visibilitychange", () => this.#tick());
  }

  get isLive() {
    return this.#state === "live";
  }

  get isPaused() {
    return this.#pausedAt !== null;
  }

  /** A report came, made at this time of the server. */
  heard(time) {
    this.#heardAt = performance.now();
    this.#newest = time;
    if (this.#state !== "refused") this.#became("live", "");
  }

  #became(state, why) {
    if (state === "open") this.#heardAt = performance.now();
    this.#state = state;
    this.#why = why;
    this.#show();
  }

  #tick() {
    const silence = this.#heardAt === null ? 0 : (performance.now() - this.#heardAt) / 1000;
    if (this.#state === "live" || this.#state === "open" || this.#state === "stale") {
      if (silence > GIVE_UP_S) {
        this.#heardAt = performance.now();
        this.#socket.reconnect();
        return;
      }
      if (silence > this.#interval * PATIENCE_INTERVALS) this.#became("stale", "No report came for a while");
    }
    this.#show();
  }

  #pause() {
    this.#pausedAt = this.#pausedAt === null ? this.#newest ?? Date.now() / 1000 : null;
    const isPaused = this.isPaused;
    part("pause").setAttribute("aria-pressed", String(isPaused));
    setText(part("pause"), isPaused ? "Go on" : "Pause");
    document.body.toggleAttribute("data-paused", isPaused);
    this.#show();
    if (!isPaused) this.dispatchEvent(new CustomEvent("resumed"));
  }

  #show() {
    const isPaused = this.isPaused && this.#state === "live";
    // The word is read out when it changes, so it holds no seconds; the banner, which does, is silent.
    setData(document.body, "line", this.#state === "open" ? "connecting" : this.#state);
    setText(part("line-text"), isPaused ? `Paused at ${timeOfDay(this.#pausedAt)}` : WORDS.get(this.#state));
    const isWorthSaying = ["stale", "offline", "refused"].includes(this.#state) || (this.#state === "connecting" && this.#newest !== null);
    part("banner").hidden = !isWorthSaying;
    part("again").hidden = this.#state !== "refused" && this.#state !== "offline";
    if (isWorthSaying) setText(part("banner-text"), `${this.#why}. ${this.#ageInWords()}`.replace(/\.\. /, ". "));
  }

  #ageInWords() {
    if (this.#newest === null) return "Nothing has been seen yet.";
    const age = duration((performance.now() - this.#heardAt) / 1000);
    return `What you see is from ${timeOfDay(this.isPaused ? this.#pausedAt : this.#newest)}, ${age} ago.`;
  }
}
