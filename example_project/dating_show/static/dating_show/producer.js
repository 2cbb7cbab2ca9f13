/** What the producer does: becoming one, leaving, and the buttons that ask for actions. */

import { client } from "./live.js";

const WORDS = new Map([
  ["move", "is on the way"],
  ["mood", "feels it already"],
  ["talk", "will talk"],
  ["rose", "gives a rose"],
  ["ceremony", "calls everyone to the fire pit"],
]);

export class Producer {
  #chosen = null;

  constructor({ agents, chosen, toast }) {
    this.agents = agents;
    this.toast = toast;
    this.other = document.getElementById("other");
    for (const id of ["become", "leave"]) {
      document.getElementById(id).addEventListener("submit", (event) => this.#submit(event));
    }
    document.getElementById("actions").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-action]");
      if (button !== null) this.#act(button);
    });
    document.getElementById("call-ceremony").addEventListener("click", () => {
      const anybody = chosen() ?? agents.keys().next().value;
      if (anybody !== undefined) this.#send(anybody, "ceremony", {});
    });
  }

  /** The list of others belongs to the one who is chosen. */
  choose(agentId) {
    this.#chosen = agentId;
    this.people();
  }

  /** Somebody came or went. */
  people() {
    const kept = this.other.value;
    const options = [];
    for (const [agentId, state] of this.agents) {
      if (agentId === this.#chosen || state.identity?.guest === true) continue;
      const option = document.createElement("option");
      option.value = agentId;
      option.textContent = state.identity?.first_name ?? state.name ?? agentId;
      options.push(option);
    }
    this.other.replaceChildren(...options);
    if (options.some((option) => option.value === kept)) this.other.value = kept;
  }

  #act(button) {
    const { action, param, value, from } = button.dataset;
    const chosenValue = from === "other" ? this.other.value : value;
    if (this.#chosen !== null && chosenValue) this.#send(this.#chosen, action, { [param]: chosenValue });
  }

  async #send(agentId, action, params) {
    if (client.status.state !== "open" || client.isPaused) {
      this.toast("Not connected at the moment.", true);
      return;
    }
    try {
      await client.act(agentId, action, params);
      const name = this.agents.get(agentId)?.identity?.first_name ?? agentId;
      this.toast(`${name} ${WORDS.get(action) ?? "was asked"}`);
    } catch (error) {
      this.toast(error.message, true);
    }
  }

  /** Sends the form without leaving the page; without scripts the same form loads the page anew. */
  async #submit(event) {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "application/json" },
      });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const { producer, csrf_token: token } = await answer.json();
      for (const field of document.getElementsByName("csrfmiddlewaretoken")) field.value = token;
      document.body.dataset.producer = producer ? "yes" : "no";
      if (client.status.state !== "closed") client.reconnect(); // the socket still has the cookies of before
    } catch {
      form.submit();
    }
  }
}
