/** Keeps views where a reload finds them, so that it is a resume. What is found there is only believed if it fits. */

import type { SavedMirror } from "./mirror.js";

/** `sessionStorage` is one. */
export interface KeyValueStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const VERSION = 1;

export class Shelf {
  constructor(
    private readonly storage: KeyValueStorage | undefined,
    private readonly owner: string,
  ) {}

  load(channel: string, view: string): unknown {
    try {
      const text = this.storage?.getItem(this.#key(channel, view)) ?? null;
      const kept: unknown = text === null ? null : JSON.parse(text);
      if (typeof kept !== "object" || kept === null || !("version" in kept) || !("saved" in kept)) return null;
      return kept.version === VERSION ? kept.saved : null;
    } catch {
      return null; // not ours, broken, or a storage that may not be read
    }
  }

  save(channel: string, view: string, saved: SavedMirror): void {
    try {
      this.storage?.setItem(this.#key(channel, view), JSON.stringify({ version: VERSION, saved }));
    } catch {
      this.remove(channel, view); // full: an old copy would be shown for nothing
    }
  }

  remove(channel: string, view: string): void {
    try {
      this.storage?.removeItem(this.#key(channel, view));
    } catch {
      // a storage that may not be written holds nothing of ours
    }
  }

  #key(channel: string, view: string): string {
    return `update-pipeline ${JSON.stringify([this.owner, channel, view])}`;
  }
}
