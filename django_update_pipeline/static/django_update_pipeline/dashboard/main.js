/** Joins the parts of the page: what the admin socket says goes to the cards, and the state of the line over all. */

import { Breaker } from "./breaker.js";
import { Charts, sayFigures } from "./charts.js";
import { showClients } from "./clients.js";
import { confirmed, note } from "./dialogs.js";
import { part, setText } from "./dom.js";
import { field, inner, list, number, text } from "./fields.js";
import { showAccount, showHealth } from "./health.js";
import { Letters } from "./letters.js";
import { Line } from "./line.js";
import { Samples, breakerStates } from "./samples.js";
import { AdminSocket } from "./socket.js";
import { CONNECTIONS_SHOWN, showConnections, showPlugins } from "./tables.js";

const INTERVAL_S = 1;
const TABLES_MS = 5000;
const mayOperate = document.body.dataset.operate === "yes";

const socket = new AdminSocket(document.body.dataset.socket);
const line = new Line(socket, INTERVAL_S);
const samples = new Samples();
const charts = new Charts(samples);
const breaker = new Breaker();
const letters = new Letters(ask);
const latest = { health: null, metrics: null, behind: 0, at: 0 };
let lettersKept = null;
let isDrawn = true;

/** A command's answer. Who may not even look any more is told so, and the page gives up. */
async function ask(command, params) {
  try {
    return await socket.ask(command, params);
  } catch (error) {
    if (error.code === "forbidden" && !OPERATORS.has(command)) socket.refuse("You may not look at this any more.");
    throw error;
  }
}
const OPERATORS = new Set(["reset_circuit_breaker", "show_dead_letter", "replay_dead_letters", "discard_dead_letters"]);

/** After each connect: what the server remembers, then what comes. */
async function begin() {
  try {
    const history = field(await ask("get_history", {}), "data");
    samples.begin(history);
    breaker.forget();
    // In the order of time: between two samples the breaker may have opened and closed again.
    const past = breakerStates(history).map(([time, state]) => ({ time, tell: () => breaker.seen(time, state) }));
    for (const event of list(history, "events")) past.push({ time: number(event, "timestamp"), tell: () => happened(event) });
    for (const { tell } of past.sort((one, two) => one.time - two.time)) tell();
    await ask("watch", { interval_s: INTERVAL_S });
    await letters.load();
    await loadTables();
  } catch (error) {
    if (error.code !== "offline" && socket.isOpen) note(error.message, true);
  }
}

/** The tables that nothing is pushed for. */
async function loadTables() {
  if (!socket.isOpen || line.isPaused) return;
  try {
    showPlugins(field(await ask("get_plugins"), "data"));
    showConnections(field(await ask("get_connections", { limit: CONNECTIONS_SHOWN }), "data"));
  } catch {
    // The line says what is wrong.
  }
}

/** Something that is told at once, and once: a frame of `watch`, or an entry of the history. */
function happened(frame) {
  const data = inner(frame, "data");
  const event = { number: number(data, "number"), time: number(frame, "timestamp") };
  switch (text(frame, "type")) {
    case "circuit_breaker_changed":
      breaker.changed({ ...event, before: text(data, "before"), after: text(data, "after"), cause: text(data, "cause") });
      break;
    case "operator_acted":
      breaker.acted({ ...event, operator: text(data, "operator"), command: text(data, "command"), result: text(data, "result") });
      break;
    default: // What a later server adds is not for this page.
  }
}

function received(frame) {
  switch (text(frame, "type")) {
    case "health_status":
      latest.health = inner(frame, "data");
      break;
    case "performance_metrics":
      latest.metrics = inner(frame, "data");
      latest.at = number(frame, "timestamp");
      samples.add(latest.at, latest.metrics, latest.behind);
      breaker.seen(latest.at, text(latest.metrics, "circuit_breaker_state"));
      line.heard(latest.at);
      break;
    case "connection_info":
      latest.behind = number(inner(frame, "data"), "behind");
      break;
    case "dead_letters_added":
      if (!line.isPaused) letters.load();
      break;
    case "error":
      note(text(frame, "message"), true);
      return;
    default:
      happened(frame);
  }
  draw();
}

/** Draws at the browser's next turn, however many frames came. */
function draw() {
  if (!isDrawn || line.isPaused) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    if (!line.isPaused) show();
  });
}

function show() {
  if (latest.health !== null) showHealth(latest.health);
  const { metrics } = latest;
  if (metrics === null) return;
  const isMeasured = number(metrics, "count") > 0;
  sayFigures({
    perSecond: number(metrics, "updates_per_second"),
    p99: isMeasured ? number(metrics, "p99_latency_ms") : null,
    pending: number(metrics, "pending"),
    connected: number(metrics, "websocket_connections"),
  });
  showAccount(metrics);
  showClients(metrics);
  setText(part("transport"), `transport ${text(metrics, "transport")}`);
  breaker.show(samples.span(), mayOperate && line.isLive);
  charts.draw();
  letters.tick(latest.at);
  const kept = number(metrics, "dead_letters");
  if (kept !== lettersKept) {
    lettersKept = kept;
    letters.load();
  }
}

async function resetBreaker() {
  const isSure = await confirmed({
    title: "Close the circuit breaker?",
    text: "What waits is tried at once. If the transport is still down, the breaker opens again after a few failures.",
    yes: "Close it",
  });
  if (!isSure) return;
  try {
    await ask("reset_circuit_breaker", {});
    note("The breaker was reset");
  } catch (error) {
    note(error.message, true);
  }
}

socket.addEventListener("frame", ({ detail: frame }) => {
  if (text(frame, "type") === "admin_connected") begin();
  else received(frame);
});
line.addEventListener("resumed", () => {
  draw();
  letters.load();
  loadTables();
});
part("reset")?.addEventListener("click", resetBreaker);
setInterval(loadTables, TABLES_MS);
socket.connect();
