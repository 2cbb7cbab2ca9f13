/** The score with its issues, and the account that has to add up. */

import { make, part, setData, setText } from "./dom.js";
import { inner, list, number, text } from "./fields.js";
import { PRIORITIES } from "./samples.js";
import { count } from "./words.js";

const STATUSES = new Set(["healthy", "degraded", "critical"]);
const TERMS = ["delivered", "conflated", "dead_lettered", "cleared", "pending"];

/** Shows a health report. */
export function showHealth(report) {
  const score = number(report, "health_score");
  const status = text(report, "health_status");
  setData(document.querySelector(".health"), "status", STATUSES.has(status) ? status : "unknown");
  setText(part("score"), count(score));
  part("score-arc").setAttribute("stroke-dasharray", `${score} 100`);
  setText(part("status"), status);
  const issues = list(report, "issues").map(String);
  const shown = part("issues");
  setText(part("issue-count"), issues.length > 1 ? `${count(issues.length)} issues` : "");
  const key = issues.join("\n");
  if (shown.dataset.key === key) return;
  shown.dataset.key = key;
  const items = issues.map((issue) => make("li", { text: issue }));
  shown.replaceChildren(...(items.length > 0 ? items : [make("li", { class: "well", text: "Nothing to mend." })]));
  setMore(shown);
}

/** More issues than fit are faded at the edge, until they are scrolled to their end. */
function setMore(shown) {
  shown.toggleAttribute("data-more", shown.scrollHeight - shown.scrollTop > shown.clientHeight + 4);
}
part("issues").addEventListener("scroll", ({ target }) => setMore(target));

/** Shows what became of all updates: accepted = delivered + conflated + dead letters + cleared + pending. */
export function showAccount(metrics) {
  const account = inner(metrics, "conservation");
  const rows = [...PRIORITIES, "total"].map((name) => {
    const terms = inner(account, name);
    const values = TERMS.map((term) => number(terms, term));
    return { name, accepted: number(terms, "accepted"), values, sum: values.reduce((one, two) => one + two, 0) };
  });
  const body = part("account");
  if (body.childElementCount === 0) body.append(...rows.map(({ name }) => accountRow(name)));
  rows.forEach(({ accepted, values }, index) => {
    const cells = body.children[index].querySelectorAll("td");
    [accepted, ...values].forEach((value, place) => {
      setText(cells[place], count(value));
      cells[place].classList.toggle("zero", value === 0);
    });
  });
  const off = rows.reduce((worst, { accepted, sum }) => (accepted === sum ? worst : accepted - sum), 0);
  setData(part("balance"), "balance", off === 0 ? "even" : "off");
  setText(part("balance"), off === 0 ? "✓ it adds up" : `off by ${count(off)}: please report this`);
  showShares(rows.at(-1).values);
}

function accountRow(name) {
  const cells = ["accepted", ...TERMS].map((term, place) => make("td", { class: place === 0 ? null : place === 1 ? "equals" : "plus" }));
  return make("tr", { class: name === "total" ? "total" : null }, make("th", { scope: "row", text: name }), ...cells);
}

function showShares(values) {
  const bar = part("share");
  if (bar.childElementCount === 0) {
    bar.append(...TERMS.map((term) => make("i", { class: `${term}-tone` })));
    const heads = bar.parentElement.querySelectorAll("thead th");
    TERMS.forEach((term, place) => heads[place + 2].prepend(make("i", { class: `${term}-tone` })));
  }
  // A share that is there stays visible, however small.
  const total = values.reduce((one, two) => one + two, 0);
  values.forEach((value, place) => {
    bar.children[place].style.flexGrow = String(value === 0 ? 0 : Math.max(value, total / 250));
    bar.children[place].hidden = value === 0;
  });
}
