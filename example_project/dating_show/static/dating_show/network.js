/**
 * The visitor's own bad network, and what it takes to come back from it.
 *
 * "Reading nothing" really stops the client: frames that come are neither applied nor acknowledged, and the server sees a
 * reader that has stopped. "Cut" really closes the socket. Each return is told with what the client counted.
 */

import { bytes, milliseconds } from "./ages.js";
import { client, news, onWorth, villa, worth } from "./live.js";
import { setText } from "./stage.js";

const MOST = 12;
const WORDS = new Map([
  ["good", "Each change is applied and acknowledged. Spoil the line, and see what coming back takes."],
  ["deaf", "Nothing is read or acknowledged. For this page the server keeps one position, and no queue."],
  ["cut", "The socket is closed. The page keeps what it knew, and says that it is old."],
]);

export class Network {
  #views = [villa, news];
  #caughtUp = new Map();
  #staleSince = null; // by performance.now()
  #askedAt = 0;
  #isLost = false; // the line was away or not read, and not just behind for a moment
  #isFirst = true;

  constructor(root) {
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.log = this.part("log");
    // A view that was kept over a reload shows it, and is stale until the server has said what changed since.
    this.isReload = villa.status === "stale";
    root.addEventListener("change", ({ target }) => this.#choose(target.value));
    setText(this.part("words"), WORDS.get("good"));
    client.onStatus(({ state }) => {
      if (state === "open") this.#askedAt = performance.now();
    });
    for (const view of this.#views) view.onStatus((change) => this.#changed(view, change));
    onWorth(() => this.#noteLoss());
    this.#noteLoss();
  }

  /** For how many seconds what is shown may have been untrue; null while it is live. */
  get staleFor() {
    return this.#staleSince === null ? null : (performance.now() - this.#staleSince) / 1000;
  }

  #choose(mode) {
    setText(this.part("words"), WORDS.get(mode));
    if (mode === "cut") {
      client.disconnect();
    } else if (mode === "deaf") {
      if (client.status.state === "closed") client.reconnect();
      client.pause();
    } else {
      this.#askedAt = performance.now();
      if (client.isPaused) client.resume();
      if (client.status.state === "closed") client.reconnect();
    }
    this.#noteLoss();
  }

  #noteLoss() {
    const now = worth();
    if (now === "live") return;
    this.#staleSince ??= performance.now();
    this.#isLost ||= now !== "catching-up";
  }

  #changed(view, { status, catchUp }) {
    if (status !== "live") return;
    const before = this.#caughtUp.get(view);
    this.#caughtUp.set(view, before === undefined ? catchUp : sum(before, catchUp));
    if (worth() !== "live") return;
    if (this.#isLost || this.#isFirst) {
      // Of a channel in which nothing ever happened there is nothing to go on from: it begins anew each time.
      const isReset = this.#caughtUp.get(villa)?.isReset ?? false;
      this.#report({ ...[...this.#caughtUp.values()].reduce(sum), isReset });
    }
    this.#caughtUp.clear();
    this.#staleSince = null;
    this.#isLost = false;
    this.#isFirst = false;
  }

  /** One line of the log: what came, and what a snapshot of the same would have been. */
  #report({ fields, events, bytes: came, isReset }) {
    const whole = this.#views.reduce((total, view) => total + view.snapshotBytes(), 0);
    const item = document.createElement("li");
    Object.assign(item.dataset, { fields, events, bytes: came, whole, reset: isReset });
    const took = milliseconds(performance.now() - this.#askedAt);
    const what = document.createElement("p");
    if (isReset) {
      const lead = this.#isFirst ? "filled" : "begun anew, as the server did"; // another epoch, or a position too old
      what.append(bold(lead), `: ${villa.agents.size} people in `, bold(bytes(came)));
    } else {
      const lead = this.#isFirst ? "reloaded" : `resumed after ${milliseconds(this.staleFor * 1000)}`;
      const more = events === 0 ? "" : ` and ${count(events, "event")}`;
      what.append(bold(lead), `: ${count(fields, "field")}${more} in `, bold(bytes(came)), `, instead of ${bytes(whole)}`);
      item.append(share(came / whole));
    }
    what.title = `${took} from asking to being live`;
    item.prepend(what);
    if (villa.missed + news.missed > 0) {
      const missed = document.createElement("p");
      missed.textContent = `${count(villa.missed + news.missed, "event")} had gone from the server's history meanwhile`;
      item.append(missed);
    }
    this.log.prepend(item);
    while (this.log.childElementCount > MOST) this.log.lastElementChild.remove();
  }
}

function sum(one, other) {
  return {
    fields: one.fields + other.fields,
    events: one.events + other.events,
    bytes: one.bytes + other.bytes,
    isReset: one.isReset || other.isReset,
  };
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function bold(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

/** A bar that is as long as what came, on one as long as a snapshot. */
function share(part) {
  const bar = document.createElement("span");
  bar.className = "share";
  bar.setAttribute("aria-hidden", "true");
  const filled = document.createElement("i");
  filled.style.width = `${Math.min(100, Math.max(0.5, 100 * part))}%`;
  bar.append(filled);
  return bar;
}
