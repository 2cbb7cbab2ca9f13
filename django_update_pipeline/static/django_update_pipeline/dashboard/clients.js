/** How old updates are until clients have applied and acknowledged them, beside what the server itself measures. */

import { make, part, setData, setText } from "./dom.js";
import { inner, number } from "./fields.js";
import { PRIORITIES } from "./samples.js";
import { count, ms, some } from "./words.js";

/** What networks and devices may add to a promise before it counts against the score, in milliseconds at p95. */
const ALLOWANCE_MS = 500;

/** Each promise in milliseconds. */
export const LIMITS_MS = new Map([["critical", 50], ["high", 50], ["normal", 100], ["low", 500]]);

const COLUMNS = [
  ["by_priority", "p99"],
  ["applied", "p50"],
  ["applied", "p95"],
  ["applied", "p99"],
  ["acknowledged", "p99"],
];

/** Shows a report of metrics. */
export function showClients(metrics) {
  const body = part("clients");
  if (body.childElementCount === 0) body.append(...PRIORITIES.map(clientsRow));
  PRIORITIES.forEach((priority, index) => {
    const cells = body.children[index].querySelectorAll("td");
    COLUMNS.forEach(([kind, percentile], place) => {
      const rows = kind === "by_priority" ? inner(metrics, kind) : inner(inner(metrics, kind), "by_priority");
      const row = inner(rows, priority);
      const value = number(row, `${percentile}_latency_ms`);
      setText(cells[place], number(row, "count") > 0 ? ms(value) : "–");
      const isJudged = kind === "applied" && percentile === "p95";
      if (isJudged) cells[place].classList.toggle("too-slow", value > LIMITS_MS.get(priority) + ALLOWANCE_MS);
    });
    setText(cells[COLUMNS.length], count(number(inner(inner(inner(metrics, "applied"), "by_priority"), priority), "count")));
  });
  const repaired = number(metrics, "divergence_repaired");
  setData(part("repaired"), "balance", repaired === 0 ? "even" : "off");
  setText(part("repaired"), repaired === 0 ? "✓ nothing to repair" : `${some(repaired, "agent")} repaired: see the log`);
}

function clientsRow(name) {
  const cells = [...COLUMNS, "samples"].map(() => make("td", { text: "–" }));
  return make("tr", {}, make("th", { scope: "row", text: name }), ...cells);
}
