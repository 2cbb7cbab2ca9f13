/** What the server sends, as `JSON.parse` gives it. Offsets are integers, times Unix seconds with a fraction. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** An agent's top-level fields: frozen, without a prototype. Nested values are shared with the copy: don't change them. */
export type Fields = { readonly [name: string]: Json };

/** Where a client stands in one view, by the name that its frames have. It grants nothing: the server asks again. */
export interface Position {
  epoch: string;
  offset: number;
  view: string;
}

/** Something that happened to an agent: delivered once, in its agent's order. */
export interface PipelineEvent {
  readonly offset: number;
  readonly agent_id: string;
  readonly update_type: string;
  readonly data: { readonly [name: string]: Json };
  readonly timestamp: number;
}

export interface Change {
  set?: { [name: string]: Json };
  unset?: string[];
  at: number;
}

/** Some agents whole, and how many there are: the client compares. */
export interface Check {
  count: number;
  agents: { [agentId: string]: { [name: string]: Json } };
}

/** The sync protocol's one frame, `changes since`; what is empty is left out. */
export interface SyncFrame {
  type: "sync";
  channel: string;
  view?: string;
  epoch: string;
  from: number;
  to: number;
  ts: number;
  reset?: boolean;
  more?: boolean;
  urgent?: boolean;
  removed?: string[];
  agents?: { [agentId: string]: Change };
  events?: PipelineEvent[];
  event_count: number;
  check?: Check;
  ack?: boolean;
}

/** How many bytes a text is in UTF-8, as it travels. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2; // a pair of surrogates is four bytes
  }
  return bytes;
}

/** The name of a view in frames and positions: its fields, sorted by code points as the server does. */
export function viewName(fields: readonly string[] | null): string {
  return fields === null ? "" : [...new Set(fields)].sort(byCodePoint).join(",");
}

/** A projection's field has a name of at most so many characters. */
const MAX_FIELD_CHARS = 100;

const NO_FIELD = /^(?:|__proto__|constructor|prototype)$|[\u0000-\u001f\u007f-\u009f\p{Surrogate},]/u;

/** Whether a projection may name it: the server refuses a whole subscription for a name that none may have. */
export function isFieldName(name: string): boolean {
  return !NO_FIELD.test(name) && [...name].length <= MAX_FIELD_CHARS;
}

/** What ends the name of a view without events. */
const NO_EVENTS = ",,no-events";

/** What a view's name says that is shown: fields (null: all), and whether there are events. */
export function shownIn(view: string): { fields: readonly string[] | null; hasEvents: boolean } {
  const hasEvents = !view.endsWith(NO_EVENTS);
  const names = hasEvents ? view : view.slice(0, -NO_EVENTS.length);
  return { fields: names === "" ? null : names.split(","), hasEvents };
}

function byCodePoint(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (let at = 0; at < left.length && at < right.length; at++) {
    const difference = left[at]!.codePointAt(0)! - right[at]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
