/**
 * The server's clock, estimated. Each pong gives the offset to within half its round trip; the quickest of the last
 * few is believed. Each frame gives a lower bound: it can't have been made after it came.
 */

const KEPT = 8;

/** So much two clocks may drift apart, in ms per ms: a bound of long ago is lowered by it. */
const DRIFT = 1e-4;

interface Sample {
  roundTrip: number;
  offset: number;
}

export class ServerClock {
  #samples: Sample[] = [];
  #bound = -Infinity;
  #boundAt = 0;

  /** Forgets what another server said. */
  reset(): void {
    this.#samples = [];
    this.#bound = -Infinity;
  }

  /** A pong came: when its ping was sent, when it came (milliseconds of ours), and the server's time in seconds. */
  pong(sentAt: number, now: number, serverTime: number): void {
    this.#samples = [...this.#samples, { roundTrip: now - sentAt, offset: serverTime * 1000 - (sentAt + now) / 2 }];
    this.#samples = this.#samples.slice(-KEPT);
  }

  /** Something came that the server made at `serverTime` (seconds). */
  heard(now: number, serverTime: number): void {
    if (!Number.isFinite(serverTime)) return;
    this.#bound = Math.max(this.#bound - DRIFT * (now - this.#boundAt), serverTime * 1000 - now);
    this.#boundAt = now;
  }

  /** The server's time in Unix seconds; null while nothing is known of it. */
  at(now: number): number | null {
    const best = this.#samples.reduce<Sample | null>(
      (one, other) => (one !== null && one.roundTrip <= other.roundTrip ? one : other),
      null,
    );
    const offset = Math.max(best?.offset ?? -Infinity, this.#bound);
    return offset === -Infinity ? null : (now + offset) / 1000;
  }
}
