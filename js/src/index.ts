/**
 * A live copy of what a django-update-pipeline serves.
 *
 *     const client = connect("/ws/updates/"); // or connect(), where {% update_pipeline_js %} is on the page
 *     const villa = client.channel("updates");
 *     villa.subscribe(() => draw(villa.agents, villa.status));
 */

import { Client, type ClientOptions } from "./client.js";

/**
 * Opens a line to a socket, and keeps it open.
 *
 * `url` is a path of this site (`/ws/updates/`) or an address; null: where the page's `{% update_pipeline_js %}` says
 * that the socket is. The tag may also say whose page it is, which is the `storageOwner` unless options name one.
 */
export function connect(url: string | null = null, options: ClientOptions = {}): Client {
  const told = typeof document === "undefined" ? {} : tagOf(document).dataset;
  const { updatePipelineSocket: socket = "", updatePipelineOwner: owner = "" } = told as DOMStringMap;
  const address = url ?? socket;
  if (!address) {
    throw new Error("no socket is named: call connect('/ws/updates/'), or put {% update_pipeline_js %} on the page");
  }
  return new Client(address, { storageOwner: owner, ...options });
}

function tagOf(page: Document): { dataset: DOMStringMap } {
  return page.querySelector<HTMLElement>("script[data-update-pipeline-socket]") ?? { dataset: {} };
}

export type { CatchUp, ReceivedFrame, StatusChange, ViewSnapshot, ViewStatus } from "./channel.js";
export { Client, type ClientOptions, type ServerError } from "./client.js";
export { CLOSE_CODES } from "./close-codes.js";
export { sameJson, shallowEqual } from "./equal.js";
export { ActionError } from "./errors.js";
export type { Fields, Json, PipelineEvent, Position, SyncFrame } from "./frames.js";
export type { LineOptions, LineState, LineStatus } from "./line.js";
export { Mirror, type Applied, type SavedMirror } from "./mirror.js";
export type { Notification } from "./notices.js";
export type { KeyValueStorage } from "./storage.js";
export { browserSurroundings, type Surroundings } from "./surroundings.js";
export { eventStreamTransport, withFallback } from "./eventstream.js";
export { type Handlers, type Line, SUBPROTOCOL, socketUrl, streamUrl, type Transport, webSocketTransport } from "./transport.js";
export type { View } from "./view.js";
