/**
 * The live copy of the villa, by the package's browser client, which `{% update_pipeline_js %}` has loaded: who is here
 * and how they are, and what happens. It fills, resumes and acknowledges by itself; the rest of the page only looks.
 *
 * Everybody may see everything here, so what is kept over a reload belongs to nobody in particular.
 */

export const client = UpdatePipeline.connect(null, { storage: sessionStorage, pingEveryMs: 5000, backoffCapMs: 8000 });
export const villa = client.channel("dating_show_updates");
export const news = client.channel("agent_notifications");

/** What the page is worth now. Only with `live` it shows what the server has. */
export function worth() {
  const { state } = client.status;
  if (state === "waiting" || state === "closed") return "offline";
  if (client.isPaused) return "paused";
  if (villa.status === "loading") return "loading";
  if (state === "connecting") return "connecting";
  return villa.status === "live" && news.status === "live" ? "live" : "catching-up";
}

/** Calls back whenever that may be another one. */
export function onWorth(call) {
  client.onStatus(call);
  villa.onStatus(call);
  news.onStatus(call);
}
