// Held against core/codes.py by tests/client/test_agreement.py.

/** Close codes of the server: what they say, and whether to come back. Any other code is a reason to come back. */
export const CLOSE_CODES: ReadonlyMap<number, { readonly name: string; readonly reconnect: boolean }> = new Map([
  [4001, { name: "session_ended", reconnect: false }],
  [4002, { name: "closed_by_operator", reconnect: true }],
  [4008, { name: "rate_limited", reconnect: true }],
  [4009, { name: "client_silent", reconnect: true }],
  [4010, { name: "server_stopping", reconnect: true }],
  [4011, { name: "internal_error", reconnect: true }],
  [4012, { name: "too_slow", reconnect: true }],
  [4400, { name: "bad_request", reconnect: false }],
  [4401, { name: "login_required", reconnect: false }],
  [4403, { name: "forbidden", reconnect: false }],
  [4404, { name: "unknown_path", reconnect: false }],
  [4429, { name: "too_many_connections", reconnect: true }],
  [4430, { name: "too_many_of_user", reconnect: true }],
  [4431, { name: "too_many_from_address", reconnect: true }],
]);
