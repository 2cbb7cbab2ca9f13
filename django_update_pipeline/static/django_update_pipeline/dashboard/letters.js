/** The dead letters: a table, one of them opened, those that are chosen replayed or discarded. */

import { confirmed, note } from "./dialogs.js";
import { make, part, setText } from "./dom.js";
import { field, list, number, text } from "./fields.js";
import { bytes, count, dateAndTime, duration, some } from "./words.js";

const PAGE = 50;
const MOST = 500;

/** How many numbers one command takes. */
const AT_ONCE = 1000;

export class Letters {
  #ask;
  #rows = new Map();
  #chosen = new Set();
  #wanted = PAGE;
  #isLoading = false;
  #isLate = false;

  constructor(ask) {
    this.#ask = ask;
    part("older-letters").addEventListener("click", () => {
      this.#wanted = Math.min(MOST, this.#wanted + PAGE);
      this.load();
    });
    part("all-letters")?.addEventListener("change", ({ target }) => {
      for (const [number, { box }] of this.#rows) this.#choose(number, box, target.checked);
      this.#showChosen();
    });
    part("replay")?.addEventListener("click", () => this.#replay());
    part("discard")?.addEventListener("click", () => this.#discard());
  }

  /** Asks for the table anew; calls while one is on its way make one more. */
  async load() {
    if (this.#isLoading) {
      this.#isLate = true;
      return;
    }
    this.#isLoading = true;
    try {
      const frame = await this.#ask("list_dead_letters", { limit: this.#wanted });
      this.#show(field(frame, "data"), number(frame, "timestamp"));
    } catch {
      // The line says what is wrong; the table stays as it was, marked stale with the rest.
    } finally {
      this.#isLoading = false;
    }
    if (this.#isLate) {
      this.#isLate = false;
      await this.load();
    }
  }

  /** The ages, at a time of the server. */
  tick(now) {
    for (const { age, diedAt } of this.#rows.values()) setText(age, duration(now - diedAt));
  }

  #show(data, now) {
    const letters = list(data, "letters");
    const kept = number(data, "kept");
    const rows = new Map();
    for (const letter of letters) {
      const id = number(letter, "number");
      const shown = this.#rows.get(id);
      // Another process numbers from 1 again: who is chosen there must have been seen there.
      const isSame = shown !== undefined && shown.diedAt === number(letter, "died_at") && shown.agent === text(letter, "agent_id");
      rows.set(id, isSame ? shown : this.#row(id, letter));
    }
    for (const id of this.#chosen) if (!rows.has(id) || rows.get(id) !== this.#rows.get(id)) this.#chosen.delete(id);
    this.#rows = rows;
    part("letters-rows").replaceChildren(...[...rows.values()].map(({ element }) => element));
    this.tick(now);
    part("letters").hidden = rows.size === 0;
    part("no-letters").hidden = rows.size > 0;
    part("older-letters").hidden = rows.size >= number(data, "matching") || this.#wanted >= MOST;
    const letGo = number(data, "let_go");
    const parts = [rows.size < kept ? `${count(rows.size)} newest of ${count(kept)}` : count(kept)];
    if (letGo > 0) parts.push(`${count(letGo)} older ones were let go`);
    setText(part("letters-count"), kept === 0 && letGo === 0 ? "" : parts.join(" · "));
    this.#showChosen();
  }

  #row(id, letter) {
    const isReplayable = field(letter, "is_replayable") === true;
    const agent = text(letter, "agent_id");
    const box = part("all-letters") === null ? null : make("input", { type: "checkbox", "aria-label": `Choose dead letter ${id} of ${agent}` });
    box?.addEventListener("change", () => {
      this.#choose(id, box, box.checked);
      this.#showChosen();
    });
    const age = make("td");
    // What an application's updates hold is for operators; watchers see that one died, and why.
    const open = make("button", { type: "button", class: "button small", text: "Open", "aria-label": `Open dead letter ${id} of ${agent}` });
    open.addEventListener("click", () => this.#open(id));
    const element = make("tr", {},
      ...(box === null ? [] : [make("td", { class: "pick" }, box)]),
      make("td", { title: agent }, make("code", { text: agent })),
      make("td", {}, `${text(letter, "update_type")} `, make("span", { class: "tag", text: text(letter, "priority") })),
      make("td", { class: "reason", text: text(letter, "reason") }),
      make("td", { class: "wide soft", text: text(letter, "cause") }),
      age,
      ...(box === null ? [] : [make("td", { class: "number" }, open)]));
    return { element, box, age, agent, diedAt: number(letter, "died_at"), isReplayable };
  }

  #choose(id, box, isChosen) {
    box.checked = isChosen;
    if (isChosen) this.#chosen.add(id);
    else this.#chosen.delete(id);
  }

  #showChosen() {
    if (part("replay") === null) return;
    const replayable = this.#replayable().length;
    part("replay").disabled = replayable === 0;
    part("discard").disabled = this.#chosen.size === 0;
    setText(part("replay"), replayable > 0 ? `Replay ${count(replayable)}` : "Replay");
    setText(part("discard"), this.#chosen.size > 0 ? `Discard ${count(this.#chosen.size)}` : "Discard");
    const all = part("all-letters");
    all.checked = this.#rows.size > 0 && this.#chosen.size === this.#rows.size;
    all.indeterminate = this.#chosen.size > 0 && !all.checked;
  }

  #replayable() {
    return [...this.#chosen].filter((id) => this.#rows.get(id).isReplayable);
  }

  async #replay() {
    const numbers = this.#replayable().sort((one, two) => one - two).slice(0, AT_ONCE); // In the order they died.
    const left = this.#chosen.size - numbers.length;
    const isSure = await confirmed({
      title: `Replay ${some(numbers.length, "dead letter")}?`,
      text: "They are queued again as they were and go to whoever is connected now, after what was sent since."
        + (left > 0 ? ` ${some(left, "state")} among the chosen stay: a newer state is the truth by then.` : ""),
      yes: "Replay",
    });
    if (isSure) await this.#carryOut("replay_dead_letters", numbers, "replayed", "replayed");
  }

  async #discard() {
    const numbers = [...this.#chosen].slice(0, AT_ONCE);
    const isSure = await confirmed({
      title: `Discard ${some(numbers.length, "dead letter")}?`,
      text: "They are gone for good; nobody is sent them.",
      yes: "Discard",
      isDangerous: true,
    });
    if (isSure) await this.#carryOut("discard_dead_letters", numbers, "discarded", "discarded");
  }

  async #carryOut(command, numbers, key, verb) {
    try {
      // While the question stood there, letters may have gone, or another process may have taken the place of this one.
      const still = numbers.filter((id) => this.#chosen.has(id));
      if (still.length === 0) throw new Error("Those letters are not there any more.");
      const data = field(await this.#ask(command, { numbers: still }), "data");
      const problem = text(data, "problem");
      note(problem === "" ? `${some(number(data, `${key}_count`), "dead letter")} ${verb}` : `${count(number(data, `${key}_count`))} ${verb}, then: ${problem}`, problem !== "");
      this.#chosen.clear();
      for (const { box } of this.#rows.values()) box.checked = false;
    } catch (error) {
      note(error.message, true);
    }
    await this.load();
  }

  async #open(id) {
    let letter;
    try {
      letter = field(await this.#ask("show_dead_letter", { number: id }), "data");
    } catch (error) {
      note(error.message, true);
      return;
    }
    const channels = list(letter, "channels").join(", ");
    const facts = [
      ["agent", text(letter, "agent_id")],
      ["update", `${text(letter, "update_type")}, ${text(letter, "kind")}, ${text(letter, "priority")}`],
      ["channels", channels],
      ["reason", text(letter, "reason")],
      ["cause", text(letter, "cause")],
      ["queued", dateAndTime(number(letter, "queued_at"))],
      ["died", dateAndTime(number(letter, "died_at"))],
      ["size", bytes(number(letter, "bytes"))],
    ];
    setText(part("letter-title"), `Dead letter ${id}`);
    part("letter-facts").replaceChildren(
      ...facts.filter(([, value]) => value !== "").flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
    const isTooLarge = field(letter, "is_data_too_large") === true;
    part("letter-data").textContent = isTooLarge ? "Too large to be shown here." : JSON.stringify(field(letter, "data"), null, 2);
    part("letter").showModal();
  }
}
