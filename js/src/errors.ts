/** An action that was refused, failed, or got no answer. */
export class ActionError extends Error {
  /**
   * `code` is the server's (`forbidden`, `action_refused`, ...) or ours: `no_answer` (none in time), `connection_lost`
   * (it was sent, and nobody knows whether it was done), `client_closed`.
   */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ActionError";
  }
}
