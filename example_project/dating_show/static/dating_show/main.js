/** Joins the parts of the page: what the live copy says goes to the map, the feed and the panel. */

import { applied, forget, milliseconds, seconds, sinceChange, travel } from "./ages.js";
import { Face, plainColour } from "./face.js";
import { Feed } from "./feed.js";
import { client, news, onWorth, villa } from "./live.js";
import { Network } from "./network.js";
import { Panel } from "./panel.js";
import { Producer } from "./producer.js";
import { Pulse } from "./pulse.js";
import { Stage, setText } from "./stage.js";

const WAKING_MS = 700;

const part = (id) => document.getElementById(id);
const agents = new Map();
const castButtons = new Map();
const map = part("map");
let isUntouched = true; // Until the visitor closes the panel, a wide page shows somebody by itself.

const network = new Network(part("network"));
const feed = new Feed(part("feed"));
const panel = new Panel(part("panel"), colourOf);
const stage = new Stage({ map, layer: part("figures"), flights: part("flights"), bonds: part("bonds"), onChoose: choose });
const producer = new Producer({ agents, chosen: () => panel.agentId, toast });

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
    const age = document.createElement("span");
    age.className = "cast-age";
    age.title = "Since their last change";
    button.append(face.element, name, mood, age);
    button.addEventListener("click", () => choose(agentId));
    entry = { button, face, name, mood, age };
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
  forget(agentId);
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

/** Shows what is another one than what was drawn: an agent that did not change is the same object. */
function draw() {
  const newest = villa.agents;
  for (const [agentId, state] of newest) if (agents.get(agentId) !== state) show(agentId, state);
  for (const agentId of [...agents.keys()]) if (!newest.has(agentId)) remove(agentId);
  if (agents.size === 0) return;
  part("waiting").hidden = true;
  if (isUntouched && panel.agentId === null && matchMedia("(min-width: 961px)").matches) choose(agents.keys().next().value);
  part("panel-empty").hidden = panel.agentId !== null;
}

function show(agentId, state) {
  const isNew = !agents.has(agentId);
  agents.set(agentId, state);
  applied(agentId);
  stage.show(agentId, state);
  showInCast(agentId, state);
  if (isNew) producer.people();
  if (panel.agentId === agentId) panel.update(state);
}

/** How old everybody's last change is, and how the chosen one's came. */
function showAges() {
  for (const [agentId, { age }] of castButtons) {
    const s = sinceChange(agentId);
    setText(age, s === null ? "" : s < 1 ? "now" : seconds(Math.floor(s)).replace(".0", ""));
  }
  const s = panel.agentId === null ? null : sinceChange(panel.agentId);
  if (s === null) return;
  const ms = travel(panel.agentId);
  setText(part("who-since"), `changed ${seconds(s)} ago`);
  const lost = network.staleFor;
  const came = ms === undefined ? "so when this page came" : `here after ${milliseconds(ms)}`;
  setText(part("who-travel"), lost === null ? came : `stale for ${seconds(lost)}`);
}

villa.subscribe(draw);
new Pulse(document, map, network); // after `draw`: a frame is counted when it is on the page
onWorth(showAges);
setInterval(showAges, 500);
setTimeout(() => {
  part("waiting").hidden = agents.size > 0;
}, WAKING_MS);
draw(); // what was kept over a reload
showAges();

client.onError(({ message }) => toast(message, true));

client.onNotification(({ message, level, timestamp }) => {
  if (/ceremony start/i.test(message)) map.classList.add("ceremony");
  if (/ceremony is over/i.test(message)) map.classList.remove("ceremony");
  banner(message);
  feed.event({ text: message, kind: level === "info" ? "system" : `system ${level}`, timestamp });
});

news.onEvent(({ agent_id: agentId, update_type: kind, data, timestamp }) => {
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
