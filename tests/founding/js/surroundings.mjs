// What a browser would have: a global WebSocket that sends the page's cookie and origin.
// Environment: SERVER (http://127.0.0.1:8001), COOKIE (may be empty).
import WS from 'ws';

export const frames = []; // every frame that arrived, of all sockets
export const sockets = [];

globalThis.WebSocket = class extends WS {
  constructor(url) {
    const { SERVER, COOKIE } = process.env;
    super(url, { origin: SERVER, headers: COOKIE ? { Cookie: COOKIE } : {}, perMessageDeflate: false });
    sockets.push(this);
    this.on('message', (text) => frames.push(JSON.parse(text)));
    this.on('error', (error) => { throw error; });
  }
};

export async function until(what, condition, withinMs = 20000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function elsewhere(agent) {
  return agent.current_location === 'pool' ? 'garden' : 'pool';
}

// The one line that the test reads.
export function report(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
