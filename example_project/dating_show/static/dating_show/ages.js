/**
 * How old what is shown is, by the client's estimate of the server's clock: for each person since when nothing has
 * changed, and how long the last change took from the server's queue to this page.
 */

import { client, villa } from "./live.js";

const travels = new Map();
let bornAt = Infinity; // when this page first had all there was, by the server's clock

/** Notes, when an agent's change has just been applied, how long it took: a cut makes it long. */
export function applied(agentId) {
  const at = villa.changedAt(agentId);
  const now = client.serverTime;
  if (now !== null && villa.status === "live") bornAt = Math.min(bornAt, now);
  // What was so before this page was there did not take until now.
  if (at && now !== null && at > bornAt) travels.set(agentId, Math.max(0, (now - at) * 1000));
  else travels.delete(agentId);
}

/** Seconds since an agent's last change was queued; null while nothing is known of the server's clock. */
export function sinceChange(agentId) {
  const at = villa.changedAt(agentId);
  const now = client.serverTime;
  return at && now !== null ? Math.max(0, now - at) : null;
}

/** From queued to applied, in milliseconds; undefined where the last change is older than this page. */
export function travel(agentId) {
  return travels.get(agentId);
}

export function forget(agentId) {
  travels.delete(agentId);
}

/** 0.4 s, 12 s, 3 min, 2 h */
export function seconds(s) {
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

/** 0.4 ms, 12 ms, 1.3 s */
export function milliseconds(ms) {
  if (ms >= 1000) return seconds(ms / 1000);
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** 412 bytes, 31.2 KB; a KB is a thousand. */
export function bytes(count) {
  return count < 1000 ? `${count} bytes` : `${(count / 1000).toFixed(1)} KB`;
}
