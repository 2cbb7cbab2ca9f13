/**
 * A live copy of what a django-update-pipeline serves.
 *
 *     const client = connect("/ws/updates/");
 *     const villa = client.channel("updates");
 *     villa.subscribe(() => draw(villa.agents, villa.status));
 */

import { Client, type ClientOptions } from "./client.js";

/** Opens a line to a socket, as a path of this site (`/ws/updates/`) or an address, and keeps it open. */
export function connect(url: string, options?: ClientOptions): Client {
  return new Client(url, options);
}

export type { CatchUp, StatusChange, ViewSnapshot, ViewStatus } from "./channel.js";
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
export { type Handlers, type Line, SUBPROTOCOL, type Transport } from "./transport.js";
export type { View } from "./view.js";
