/** What happens, newest first; bounded, and read out politely. */

import { svg } from "./face.js";

const MOST = 80;
const KEPT = 25;
const KEPT_AS = "villa feed";
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export class Feed {
  constructor(list) {
    this.list = list;
    this.isEmpty = true;
    const waiting = document.createElement("li");
    waiting.className = "feed-empty";
    waiting.textContent = "Quiet so far. Somebody will speak in a moment.";
    list.append(waiting);
    // A reload goes on where the page was: its state is kept by the client, what it has told by this.
    this.told = [];
    for (const [what, said] of kept()) this[what]?.(said);
    for (const item of list.children) item.classList.remove("new");
    addEventListener("pagehide", () => keep(this.told));
  }

  /** Somebody said something to somebody. */
  dialogue(line) {
    const { speaker, listener, text, colour, timestamp } = line;
    this.#note("dialogue", line);
    const said = document.createElement("span");
    said.className = "said";
    const names = document.createElement("span");
    names.className = "names";
    names.textContent = speaker;
    if (listener) {
      const to = document.createElement("span");
      to.className = "to";
      to.textContent = ` to ${listener}`;
      names.append(to);
    }
    const quote = document.createElement("span");
    quote.className = "quote";
    quote.textContent = text;
    said.append(names, quote);
    this.#add("line", dot(colour), said, timestamp);
  }

  /** Something happened. */
  event(happening) {
    const { text, kind, colour, timestamp } = happening;
    this.#note("event", happening);
    const said = document.createElement("span");
    said.className = "said";
    said.textContent = text;
    const isRose = ["rose_given", "couple_formed", "ceremony_started", "ceremony_ended"].includes(kind);
    this.#add(isRose ? "rose" : kind, isRose ? mark() : dot(colour), said, timestamp);
  }

  #note(what, said) {
    this.told = [...this.told.slice(1 - KEPT), [what, said]];
  }

  #add(kind, sign, said, timestamp) {
    if (this.isEmpty) this.list.replaceChildren();
    this.isEmpty = false;
    const item = document.createElement("li");
    item.className = `new ${kind}`;
    const time = document.createElement("time");
    const date = new Date((timestamp ?? Date.now() / 1000) * 1000);
    time.dateTime = date.toISOString();
    time.textContent = clock.format(date);
    item.append(sign, said, time);
    // Who has scrolled down to read must not be pushed away.
    const above = this.list.scrollTop > 4 ? this.list.scrollHeight : null;
    this.list.prepend(item);
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
    if (above !== null) this.list.scrollTop += this.list.scrollHeight - above;
  }
}

/** What was told before a reload; nothing, where it can't be read or was written by something else. */
function kept() {
  try {
    const told = JSON.parse(sessionStorage.getItem(KEPT_AS) ?? "[]");
    return told.filter(([what, said]) => ["dialogue", "event"].includes(what) && Number.isFinite(said.timestamp));
  } catch {
    return [];
  }
}

function keep(told) {
  try {
    sessionStorage.setItem(KEPT_AS, JSON.stringify(told));
  } catch {
    // full, or not allowed: the page then begins without
  }
}

function dot(colour) {
  const element = document.createElement("span");
  element.className = "dot";
  if (typeof colour === "string") element.style.background = colour;
  return element;
}

function mark() {
  return svg("svg", { viewBox: "0 0 32 32", class: "mark", "aria-hidden": "true" }, svg("use", { href: "#rose" }));
}
