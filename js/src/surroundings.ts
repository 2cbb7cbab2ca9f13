/** What the client takes from where it runs. Tests give another one: a clock that stands, dice that are known. */

export interface Surroundings {
  /** Milliseconds that never go back; where they begin is of no matter. */
  now(): number;
  /** From 0 up to but not 1. */
  random(): number;
  /** Calls back once, later; returns what calls it off. */
  later(call: () => void, ms: number): () => void;
  /** Calls back when the network or the page is back (`wake`) and when the page may be gone for good (`hide`). */
  listen(call: (what: "wake" | "hide") => void): () => void;
  /** Where a listener's own error goes: it must harm nothing beside it. */
  report(error: unknown): void;
}

export function browserSurroundings(): Surroundings {
  return {
    now: () => performance.now(),
    random: () => Math.random(),
    later(call, ms) {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    listen(call) {
      if (typeof window === "undefined") return () => {};
      const online = (): void => call("wake");
      const hide = (): void => call("hide");
      const visible = (): void => call(document.visibilityState === "visible" ? "wake" : "hide");
      window.addEventListener("online", online);
      window.addEventListener("pagehide", hide);
      document.addEventListener("visibilitychange", visible);
      return () => {
        window.removeEventListener("online", online);
        window.removeEventListener("pagehide", hide);
        document.removeEventListener("visibilitychange", visible);
      };
    },
    report(error) {
      if (typeof reportError === "function") reportError(error);
      else console.error(error);
    },
  };
}
