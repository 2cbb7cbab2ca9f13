/** Joins the parts of the page: what the socket says goes to the map, the feed, the panel and the pulse. */

import { VillaConnection } from "./connection.js";
import { Face, plainColour } from "./face.js";
import { Feed } from "./feed.js";
import { Panel } from "./panel.js";
import { Producer } from "./producer.js";
import { Pulse } from "./pulse.js";
import { Stage, setText } from "./stage.js";

const part = (id) => document.getElementById(id);
const agents = new Map();
const castButtons = new Map();
const map = part("map");
let isUntouched = true; // Until the visitor closes the panel, a wide page shows somebody by itself.

const connection = new VillaConnection(document.body.dataset.socket);
const feed = new Feed(part("feed"));
const pulse = new Pulse(document, map);
const panel = new Panel(part("panel"), colourOf);
const stage = new Stage({ map, layer: part("figures"), flights: part("flights"), bonds: part("bonds"), onChoose: choose });
const producer = new Producer({ connection, agents, chosen: () => panel.agentId, toast });

function colourOf(agentId) {
  return plainColour(agents.get(agentId)?.identity?.colour);
}

function firstName(agentId, fallback) {
  return agents.get(agentId)?.identity?.first_name ?? fallback ?? agentId;
}

/** Shows somebody in the panel; choosing them again closes it. */
function choose(agentId) {
  const state = agentId === panel.agentId ? undefined : agents.get(agentId);
  if (state === undefined) {
    agentId = null;
    isUntouched = false;
    panel.close();
  } else {
    panel.choose(agentId, state);
  }
  stage.choose(agentId);
  producer.choose(agentId);
  for (const [otherId, { button }] of castButtons) button.setAttribute("aria-pressed", String(otherId === agentId));
}

function showInCast(agentId, state) {
  let entry = castButtons.get(agentId);
  if (entry === undefined) {
    const face = new Face(agentId);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "cast-button";
    button.setAttribute("aria-pressed", "false");
    const name = document.createElement("span");
    const mood = document.createElement("span");
    mood.className = "cast-mood";
    button.append(face.element, name, mood);
    button.addEventListener("click", () => choose(agentId));
    entry = { button, face, name, mood };
    castButtons.set(agentId, entry);
    part("cast").append(button);
  }
  setText(entry.name, state.identity?.first_name ?? state.name ?? agentId);
  setText(entry.mood, state.emotions?.mood);
  entry.face.setIdentity(state.identity);
  entry.face.setMood(state.emotions?.valence ?? 0, state.emotions?.energy ?? 0.6);
}

function remove(agentId) {
  agents.delete(agentId);
  stage.remove(agentId);
  castButtons.get(agentId)?.button.remove();
  castButtons.delete(agentId);
  producer.people();
  if (panel.agentId === agentId) choose(agentId);
}

let bannerTimer = 0;
function banner(text) {
  setText(part("banner"), text);
  part("banner").hidden = false;
  clearTimeout(bannerTimer);
  bannerTimer = setTimeout(() => {
    part("banner").hidden = true;
  }, 6500);
}

function toast(text, isBad = false) {
  const element = document.createElement("p");
  element.className = isBad ? "toast bad" : "toast";
  element.textContent = text;
  part("toasts").append(element);
  setTimeout(() => element.remove(), isBad ? 6000 : 2600);
}

function on(type, listener) {
  connection.addEventListener(type, (event) => listener(event.detail));
}

on("status", (status) => pulse.status(status));
on("age", ({ ms }) => pulse.age(ms));
on("refused", ({ message }) => toast(message, true));
on("queued", ({ agentId, action }) => producer.queued(agentId, action));
on("removed", ({ agentId }) => remove(agentId));
on("settled", ({ agentIds }) => {
  // Who did not come with the picture after a reconnect has left meanwhile.
  for (const agentId of [...agents.keys()]) if (!agentIds.has(agentId)) remove(agentId);
});

on("state", ({ agentId, data }) => {
  const isNew = !agents.has(agentId);
  agents.set(agentId, data);
  part("waiting").hidden = true;
  stage.show(agentId, data);
  showInCast(agentId, data);
  if (isNew) producer.people();
  if (panel.agentId === agentId) panel.update(data);
  else if (isUntouched && panel.agentId === null && matchMedia("(min-width: 961px)").matches) choose(agentId);
});

on("notice", ({ message, level, timestamp }) => {
  if (/ceremony start/i.test(message)) map.classList.add("ceremony");
  if (/ceremony is over/i.test(message)) map.classList.remove("ceremony");
  banner(message);
  feed.event({ text: message, kind: level === "info" ? "system" : `system ${level}`, timestamp });
});

on("happening", ({ agentId, kind, data, timestamp }) => {
  const text = typeof data.text === "string" ? data.text : kind.replaceAll("_", " ");
  if (kind === "dialogue") {
    stage.say(data.speaker ?? agentId, text, data.tone);
    feed.dialogue({
      speaker: firstName(data.speaker, data.speaker_name),
      listener: data.listener_name ? firstName(data.listener, data.listener_name) : null,
      text,
      colour: colourOf(data.speaker),
      timestamp,
    });
    return;
  }
  if (kind === "rose_given") {
    stage.say(data.giver, data.line, "flirt");
    stage.fly(data.giver, data.receiver);
  }
  feed.event({ text, kind, colour: colourOf(agentId), timestamp });
});

connection.connect();
