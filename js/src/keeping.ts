/** Keeps what is shown for the next page: every few seconds while it changes, and when this page goes. */

import type { Channel } from "./channel.js";
import { type KeyValueStorage, Shelf } from "./storage.js";
import type { Surroundings } from "./surroundings.js";

const KEEP_EVERY_MS = 5_000;

export class Keeping {
  readonly #shelf: Shelf;
  readonly #changed = new Set<Channel>(); // since they were kept
  #stop: (() => void) | null = null;

  /** `owner`: whose copies they are. Without a storage nothing is kept. */
  constructor(
    private readonly storage: KeyValueStorage | undefined,
    owner: string,
    private readonly around: Surroundings,
  ) {
    this.#shelf = new Shelf(storage, owner);
  }

  /** Shows what was kept of a channel, if it can be believed. */
  restore(channel: Channel): void {
    if (channel.restore(this.#shelf.load(channel.name, channel.view)) === false) this.remove(channel);
  }

  /** Something of it is shown that is not kept yet. */
  changed(channel: Channel): void {
    if (this.storage === undefined) return;
    this.#changed.add(channel);
    this.#stop ??= this.around.later(() => this.keep(), KEEP_EVERY_MS);
  }

  /** Keeps all that has changed. */
  keep(): void {
    this.#stop?.();
    this.#stop = null;
    for (const channel of this.#changed) this.#keepOne(channel);
    this.#changed.clear();
  }

  /** Nobody uses it any more: it is kept for the next who does. */
  left(channel: Channel): void {
    this.#keepOne(channel);
    this.#changed.delete(channel);
  }

  /** It may not be shown any more, and so not kept. */
  forget(channel: Channel): void {
    this.remove(channel);
    this.#changed.delete(channel);
  }

  /** What is kept of it is out of date. */
  remove(channel: Channel): void {
    this.#shelf.remove(channel.name, channel.view);
  }

  #keepOne(channel: Channel): void {
    if (this.storage === undefined || channel.status === "refused") return;
    const saved = channel.mirror.save();
    if (saved !== null) this.#shelf.save(channel.name, channel.view, saved);
  }
}
