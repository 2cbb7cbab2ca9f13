/**
 * How frames travel. The WebSocket is here, server-sent events in `eventstream`; another way is one more of these, and
 * nothing else changes.
 */

export interface Handlers {
  message(text: string): void;
  /** Once, and the last call. `code` is a WebSocket close code; 1006 where there is none. */
  closed(code: number, reason: string): void;
}

export interface Line {
  send(text: string): void;
  /** Nothing is heard of the line after this. */
  close(): void;
}

export interface Transport {
  /** Opens one line. Never throws, and calls no handler before it has returned: what fails is `closed`. */
  open(handlers: Handlers): Line;
}

/** The `readyState` of a socket that takes frames. */
const OPEN = 1;

export const SUBPROTOCOL = "update-pipeline.sync.v1";

/** A WebSocket to an address; `WebSocket` may be another implementation than the browser's. */
export function webSocketTransport(url: string, implementation?: typeof WebSocket): Transport {
  return {
    open(handlers) {
      let isHeard = true;
      let socket: WebSocket | null = null;
      try {
        socket = new (implementation ?? WebSocket)(url, SUBPROTOCOL);
      } catch (error) {
        // A wrong address, or a page that may not connect there: to be said after `open` has returned.
        queueMicrotask(() => {
          if (isHeard) handlers.closed(1006, String(error));
        });
      }
      if (socket !== null) {
        const opening = socket;
        opening.onmessage = ({ data }) => isHeard && typeof data === "string" && handlers.message(data);
        opening.onclose = ({ code, reason }) => {
          if (isHeard) handlers.closed(code, reason);
          isHeard = false;
        };
        opening.onerror = () => {}; // a close follows, with all there is to know
      }
      return {
        send(text) {
          // Between the server's close and the event that tells of it a browser would only complain.
          if (socket?.readyState === OPEN) socket.send(text);
        },
        close() {
          isHeard = false;
          socket?.close(1000);
        },
      };
    },
  };
}

/** A path such as `/ws/updates/`, or an http address, as the address of a socket. */
export function socketUrl(url: string): string {
  const absolute = absoluteUrl(url);
  absolute.protocol = absolute.protocol.replace("http", "ws");
  return absolute.href;
}

/** Where the same is served as server-sent events. */
export function streamUrl(url: string): string {
  const absolute = new URL("stream/", absoluteUrl(url));
  absolute.protocol = absolute.protocol.replace("ws", "http");
  return absolute.href;
}

function absoluteUrl(url: string): URL {
  return new URL(url, typeof location === "undefined" ? undefined : location.href);
}
