/** Callbacks that are told something; one that throws harms no other. */

export class Listeners<T> {
  #calls = new Set<{ call: (value: T) => void }>();

  constructor(private readonly report: (error: unknown) => void) {}

  get size(): number {
    return this.#calls.size;
  }

  /** Adds a callback; returns what takes it off. */
  add(call: (value: T) => void): () => void {
    const entry = { call };
    this.#calls.add(entry);
    return () => {
      this.#calls.delete(entry);
    };
  }

  tell(value: T): void {
    for (const entry of [...this.#calls]) {
      if (!this.#calls.has(entry)) continue; // taken off by one before it
      try {
        entry.call(value);
      } catch (error) {
        this.report(error);
      }
    }
  }
}
