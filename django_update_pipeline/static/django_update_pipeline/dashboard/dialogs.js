/** Dialogs and notes. A native `dialog` keeps the focus inside, closes with Escape, and gives the focus back. */

import { make, part } from "./dom.js";

const NOTE_MS = 4000;
const BAD_NOTE_MS = 9000;

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    // A click on the dialog itself is one on its backdrop: its content fills the box.
    if (event.target === dialog || event.target.closest("[data-close]") !== null) dialog.close();
  });
}

/** Asks; true if the visitor says yes. `title` is a question, `yes` the button's verb. */
export function confirmed({ title, text, yes, isDangerous = false }) {
  const dialog = part("confirm");
  const button = part("confirm-yes");
  part("confirm-title").textContent = title;
  part("confirm-text").textContent = text;
  button.textContent = yes;
  button.classList.toggle("danger", isDangerous);
  return new Promise((resolve) => {
    let answer = false;
    const agree = () => {
      answer = true;
      dialog.close();
    };
    button.addEventListener("click", agree);
    dialog.addEventListener("close", () => {
      button.removeEventListener("click", agree);
      resolve(answer);
    }, { once: true });
    dialog.showModal();
  });
}

/** A short note at the edge, read out politely. */
export function note(text, isBad = false) {
  const toast = make("p", { class: isBad ? "toast bad" : "toast", text });
  part("toasts").append(toast);
  setTimeout(() => toast.remove(), isBad ? BAD_NOTE_MS : NOTE_MS);
}
