/** The chosen one: drawn sections, and below them each field of the state; what has changed lights up. */

import { Face } from "./face.js";
import { setText } from "./stage.js";

const FLASH_MS = 1600;

/** Lets an element light up, also when it does already. */
function flash(element) {
  element.classList.remove("changed");
  void element.offsetWidth; // Starts the animation again.
  element.classList.add("changed");
  clearTimeout(element.flashTimer);
  element.flashTimer = setTimeout(() => element.classList.remove("changed"), FLASH_MS);
}

/** [path, value] of every leaf; short lists of plain values are leaves too. */
function* leaves(value, path = "") {
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    if (entries.length === 0) yield [path, Array.isArray(value) ? "[]" : "{}"];
    for (const [key, inner] of entries) yield* leaves(inner, path === "" ? key : `${path}.${key}`);
  } else {
    yield [path, value === null ? "null" : String(value)];
  }
}

export class Panel {
  #agentId = null;
  #rows = new Map();
  #bonds = new Map();
  #levels = new Map();
  #face = null;

  constructor(root, colourOf) {
    this.root = root;
    this.colourOf = colourOf;
    this.part = (id) => root.querySelector(`#${id}`);
  }

  get agentId() {
    return this.#agentId;
  }

  /** Shows another agent; nothing lights up for the change of person. */
  choose(agentId, state) {
    this.#agentId = agentId;
    this.#rows.clear();
    this.#bonds.clear();
    this.#levels.clear();
    for (const id of ["fields", "bonds-list", "levels", "memories"]) this.part(id).replaceChildren();
    this.#face = new Face(agentId);
    this.part("who-face").replaceChildren(this.#face.element);
    this.part("panel-empty").hidden = true;
    this.part("panel-body").hidden = false;
    this.root.scrollTop = 0;
    this.#draw(state, false);
  }

  /** Shows nobody. */
  close() {
    this.#agentId = null;
    this.part("panel-empty").hidden = false;
    this.part("panel-body").hidden = true;
  }

  /** The newest state of the agent shown. */
  update(state) {
    this.#draw(state, true);
  }

  #draw(state, isNews) {
    const write = (id, text) => {
      if (setText(this.part(id), text) && isNews) flash(this.part(id));
    };
    const identity = state.identity ?? {};
    const emotions = state.emotions ?? {};
    this.#face.setIdentity(identity);
    this.#face.setMood(emotions.valence ?? 0, emotions.energy ?? 0.6);
    write("who-name", state.name);
    write("who-line", [identity.age, identity.occupation, identity.hometown].filter(Boolean).join(" · "));
    write("who-place", capital(state.whereabouts?.place_label ?? state.current_location ?? ""));
    write("who-action", state.current_action);
    const line = state.dialogue?.line;
    this.part("who-says").hidden = typeof line !== "string";
    setText(this.part("who-says"), line);
    write("mood-word", emotions.mood);
    this.part("mood-valence").firstElementChild.style.left = `${50 + 50 * (emotions.valence ?? 0)}%`;
    this.part("mood-energy").firstElementChild.style.left = `${100 * (emotions.energy ?? 0)}%`;
    this.#drawLevels(emotions.levels ?? {});
    this.#drawBonds(state.relationships ?? {}, isNews);
    this.#drawMemories(state.memory?.recent ?? [], state.memory?.reflection);
    write("summary", capital(state.personality?.summary ?? ""));
    write("who-bio", identity.bio);
    this.#drawFields(state, isNews);
  }

  #drawLevels(levels) {
    for (const [name, level] of Object.entries(levels)) {
      let bar = this.#levels.get(name);
      if (bar === undefined) {
        const box = document.createElement("div");
        const term = document.createElement("dt");
        term.textContent = name;
        const value = document.createElement("dd");
        value.className = "bar";
        bar = document.createElement("i");
        value.append(bar);
        box.append(term, value);
        this.part("levels").append(box);
        this.#levels.set(name, bar);
      }
      bar.style.width = `${100 * level}%`;
    }
  }

  #drawBonds(relationships, isNews) {
    const weight = (bond) => (bond.kind === "partner" ? 3 : 0) + (bond.romance ?? 0) + Math.abs(bond.affinity ?? 0);
    const sorted = Object.entries(relationships).sort(([, one], [, two]) => weight(two) - weight(one)).slice(0, 6);
    const shown = new Set(sorted.map(([otherId]) => otherId));
    for (const [otherId, row] of this.#bonds) {
      if (!shown.has(otherId)) {
        row.item.remove();
        this.#bonds.delete(otherId);
      }
    }
    for (const [otherId, bond] of sorted) {
      let row = this.#bonds.get(otherId);
      if (row === undefined) {
        row = bondRow();
        this.#bonds.set(otherId, row);
      }
      row.dot.style.background = this.colourOf(otherId);
      setText(row.name, String(bond.name ?? otherId).split(" ")[0]);
      row.romance.style.width = `${100 * (bond.romance ?? 0)}%`;
      const affinity = bond.affinity ?? 0;
      row.affinity.style.left = `${affinity < 0 ? 50 + 50 * affinity : 50}%`;
      row.affinity.style.width = `${50 * Math.abs(affinity)}%`;
      row.affinity.parentElement.classList.toggle("cold", affinity < 0);
      row.kind.className = `kind ${bond.kind}`;
      if (setText(row.kind, bond.kind) && isNews) flash(row.item);
      this.part("bonds-list").append(row.item); // Moves it to its place in the order.
    }
    if (sorted.length === 0 && this.part("bonds-list").childElementCount === 0) {
      const nobody = document.createElement("li");
      nobody.className = "nobody";
      nobody.textContent = "Nobody yet.";
      this.part("bonds-list").append(nobody);
    }
  }

  #drawMemories(memories, reflection) {
    const list = this.part("memories");
    const wanted = [...memories].reverse();
    if (reflection) wanted.unshift(reflection);
    const key = JSON.stringify(wanted);
    if (list.dataset.key === key && list.childElementCount > 0) return;
    list.dataset.key = key;
    list.replaceChildren(
      ...wanted.map((text) => {
        const item = document.createElement("li");
        item.textContent = capital(String(text));
        return item;
      }));
  }

  #drawFields(state, isNews) {
    setText(this.part("bytes"), `${new TextEncoder().encode(JSON.stringify(state)).length} bytes`);
    const fields = this.part("fields");
    const seen = new Set();
    for (const [path, text] of leaves(state)) {
      seen.add(path);
      let value = this.#rows.get(path);
      if (value === undefined) {
        const term = document.createElement("dt");
        term.textContent = path;
        value = document.createElement("dd");
        fields.append(term, value);
        this.#rows.set(path, value);
      }
      if (setText(value, text) && isNews) flash(value);
    }
    for (const [path, value] of this.#rows) {
      if (seen.has(path)) continue;
      value.previousElementSibling.remove();
      value.remove();
      this.#rows.delete(path);
    }
  }
}

function bondRow() {
  const part = (tag, className) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    return element;
  };
  const item = part("li");
  const dot = part("span", "dot");
  const name = part("span");
  const both = part("span", "both");
  const heart = part("span", "bar");
  heart.title = "romance";
  const romance = part("i");
  heart.append(romance);
  const scale = part("span", "affinity");
  scale.title = "affinity";
  const affinity = part("i");
  scale.append(affinity);
  both.append(heart, scale);
  const kind = part("span", "kind");
  item.append(dot, name, both, kind);
  return { item, dot, name, romance, affinity, kind };
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
