/** The figures on the map: they walk, speak, are chosen; roses fly between them. */

import { Face, svg } from "./face.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

class Figure {
  constructor(agentId, onChoose) {
    this.agentId = agentId;
    this.face = new Face(agentId);
    this.element = document.createElement("div");
    this.element.className = "figure";
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "figure-button";
    this.button.append(this.face.element);
    this.button.addEventListener("click", () => onChoose(agentId));
    this.name = document.createElement("span");
    this.name.className = "figure-name";
    const shadow = document.createElement("span");
    shadow.className = "figure-shadow";
    this.element.append(shadow, this.button, this.name);
    this.bubble = null;
    this.bubbleTimer = 0;
    this.at = null;
    this.from = null;
    this.to = null;
    this.startedAt = 0;
    this.lastsMs = 0;
    this.heardAt = 0;
  }

  /** Where it is at a time of the page's clock, in percent of the map. */
  where(nowMs) {
    if (this.lastsMs === 0) return this.to;
    const share = Math.min(1, (nowMs - this.startedAt) / this.lastsMs);
    if (share === 1) this.lastsMs = 0;
    return { x: this.from.x + (this.to.x - this.from.x) * share, y: this.from.y + (this.to.y - this.from.y) * share };
  }

  /** Walks to a point in about the time that lies between two updates, so that steps join into a walk. */
  head(point, nowMs) {
    if (this.to !== null && point.x === this.to.x && point.y === this.to.y) return;
    const gap = nowMs - this.heardAt;
    this.heardAt = nowMs;
    if (this.to === null || still.matches) {
      this.from = this.to = point;
      this.lastsMs = 0;
      return;
    }
    this.from = this.where(nowMs);
    this.to = point;
    this.startedAt = nowMs;
    this.lastsMs = Math.max(250, Math.min(900, gap)) * 1.12;
  }
}

export class Stage {
  #figures = new Map();
  #states = new Map();
  #frame = 0;
  #size = { width: 1, height: 1 };
  #chosen = null;
  #flights = new Set();

  constructor({ map, layer, flights, bonds, onChoose }) {
    this.layer = layer;
    this.flightLayer = flights;
    this.bondLayer = bonds;
    this.onChoose = onChoose;
    new ResizeObserver(() => {
      this.#size = { width: map.clientWidth, height: map.clientHeight };
      this.#wake();
    }).observe(map);
  }

  /** Shows an agent's newest state. */
  show(agentId, state) {
    let figure = this.#figures.get(agentId);
    if (figure === undefined) {
      figure = new Figure(agentId, this.onChoose);
      this.#figures.set(agentId, figure);
      this.layer.append(figure.element);
      if (agentId === this.#chosen) figure.element.classList.add("chosen");
    }
    this.#states.set(agentId, state);
    const emotions = state.emotions ?? {};
    figure.face.setMood(emotions.valence ?? 0, emotions.energy ?? 0.6);
    figure.face.setIdentity(state.identity);
    const first = state.identity?.first_name ?? state.name ?? agentId;
    setText(figure.name, first);
    figure.element.classList.toggle("guest", state.identity?.guest === true);
    const label = `${state.name ?? agentId}, ${emotions.mood ?? ""}, ${state.current_action ?? ""}`;
    if (figure.button.getAttribute("aria-label") !== label) figure.button.setAttribute("aria-label", label);
    const position = state.position ?? {};
    const line = state.dialogue?.line;
    figure.element.classList.toggle("talking", typeof line === "string");
    if (Number.isFinite(position.x) && Number.isFinite(position.y)) {
      figure.head({ x: position.x, y: position.y }, performance.now());
      this.#wake();
    }
    if (agentId === this.#chosen) this.#drawBonds();
  }

  remove(agentId) {
    const figure = this.#figures.get(agentId);
    if (figure === undefined) return;
    this.#figures.delete(agentId);
    this.#states.delete(agentId);
    figure.element.classList.add("gone");
    setTimeout(() => figure.element.remove(), 800);
  }

  choose(agentId) {
    this.#figures.get(this.#chosen)?.element.classList.remove("chosen");
    this.#chosen = agentId;
    this.#figures.get(agentId)?.element.classList.add("chosen");
    this.#drawBonds();
    this.#wake();
  }

  /** A line over somebody's head, for as long as it takes to read. */
  say(agentId, text, tone) {
    const figure = this.#figures.get(agentId);
    if (figure === undefined || figure.to === null) return;
    this.hush(agentId);
    const bubble = document.createElement("span");
    bubble.className = `bubble ${["flirt", "quarrel"].includes(tone) ? tone : ""}`;
    bubble.textContent = text.length > 140 ? `${text.slice(0, 138)}…` : text;
    bubble.setAttribute("aria-hidden", "true"); // The feed says it to those who listen.
    const { x, y } = figure.to;
    const edge = Math.min(32, (100 * 110) / this.#size.width);
    if (x < edge) bubble.classList.add("to-right");
    else if (x > 100 - edge) bubble.classList.add("to-left");
    if (y < 18) bubble.classList.add("below");
    figure.element.append(bubble);
    figure.element.classList.add("talking");
    figure.bubble = bubble;
    figure.bubbleTimer = setTimeout(() => this.hush(agentId), 2600 + 34 * text.length);
    // The newest line is readable: older ones give way when they would lie under it.
    for (const one of this.#figures.values()) {
      if (one === figure || one.bubble === null) continue;
      const isNear = Math.abs(one.to.x - x) < edge * 1.5 && Math.abs(one.to.y - y) < 15;
      if (isNear) this.hush(one.agentId);
    }
  }

  hush(agentId) {
    const figure = this.#figures.get(agentId);
    if (figure === undefined || figure.bubble === null) return;
    clearTimeout(figure.bubbleTimer);
    figure.bubble.remove();
    figure.bubble = null;
    figure.element.classList.remove("talking");
  }

  /** A rose flies from one to another. */
  fly(fromId, toId) {
    const from = this.#figures.get(fromId);
    const to = this.#figures.get(toId);
    if (from === undefined || to === undefined || still.matches || document.hidden) return;
    const rose = svg("svg", { viewBox: "0 0 32 32", class: "flight" }, svg("use", { href: "#rose" }));
    this.flightLayer.append(rose);
    this.#flights.add({ rose, from, to, startedAt: performance.now() });
    this.#wake();
  }

  #wake() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame((now) => this.#draw(now));
  }

  #draw(nowMs) {
    this.#frame = 0;
    let moving = false;
    const { width, height } = this.#size;
    for (const figure of this.#figures.values()) {
      if (figure.to === null) continue;
      const at = figure.where(nowMs);
      figure.at = at;
      figure.element.style.transform = `translate(${(at.x * width) / 100}px, ${(at.y * height) / 100}px)`;
      figure.element.style.zIndex = figure.bubble !== null ? "2000" : String(Math.round(at.y * 10));
      const isWalking = figure.lastsMs > 0;
      figure.element.classList.toggle("walking", isWalking);
      moving ||= isWalking;
    }
    for (const flight of this.#flights) {
      const share = (nowMs - flight.startedAt) / 1500;
      if (share >= 1 || flight.from.at === null || flight.to.at === null) {
        flight.rose.remove();
        this.#flights.delete(flight);
        continue;
      }
      const eased = share < 0.5 ? 2 * share * share : 1 - (2 - 2 * share) ** 2 / 2;
      const x = flight.from.at.x + (flight.to.at.x - flight.from.at.x) * eased;
      const y = flight.from.at.y + (flight.to.at.y - flight.from.at.y) * eased - 9 * Math.sin(Math.PI * eased);
      flight.rose.style.transform = `translate(${(x * width) / 100}px, ${(y * height) / 100}px) rotate(${360 * eased}deg)`;
      moving = true;
    }
    this.#moveBonds();
    if (moving) this.#wake();
  }

  #drawBonds() {
    const bonds = Object.entries(this.#states.get(this.#chosen)?.relationships ?? {})
      .filter(([, bond]) => ["crush", "partner", "rival", "friend"].includes(bond?.kind))
      .sort(([, one], [, two]) => strength(two) - strength(one))
      .slice(0, 3);
    const key = bonds.map(([otherId, bond]) => `${otherId}:${bond.kind}`).join();
    if (key === this.bondKey && this.bondOf === this.#chosen) return;
    this.bondKey = key;
    this.bondOf = this.#chosen;
    this.bondLayer.replaceChildren(
      ...bonds.map(([otherId, bond]) => {
        const line = svg("line", { class: bond.kind });
        line.dataset.to = otherId;
        return line;
      }));
    this.#wake();
  }

  #moveBonds() {
    const from = this.#figures.get(this.#chosen)?.at;
    for (const line of this.bondLayer.children) {
      const to = this.#figures.get(line.dataset.to)?.at;
      line.classList.toggle("gone", !from || !to);
      if (!from || !to) continue;
      line.setAttribute("x1", from.x);
      line.setAttribute("y1", from.y);
      line.setAttribute("x2", to.x);
      line.setAttribute("y2", to.y);
    }
  }
}

function strength(bond) {
  return (bond.kind === "partner" ? 2 : 0) + Math.max(Math.abs(bond.affinity ?? 0), bond.romance ?? 0);
}

export function setText(element, text) {
  const next = text === null || text === undefined ? "" : String(text);
  if (element.textContent === next) return false;
  element.textContent = next;
  return true;
}
