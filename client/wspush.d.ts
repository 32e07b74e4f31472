/**
 * A WebSocket to a wspush server that comes back by itself. If the server keeps sessions (ResumeWindow), the connection keeps its address,
 * and every message arrives once and in order, also those pushed while the page was away; if something has been lost, `lost` says so.
 *
 * Nothing happens at import. All calls to the handlers come from events, never from within `connect`, `send` or `close`. An exception in a
 * handler is reported as uncaught, and changes nothing else.
 */
export function connect(url: string | URL, options?: Options): Connection;

export interface Options {
  /**
   * A message as it was pushed: text is a string, binary an ArrayBuffer. It is counted as received before this is called, so an exception
   * in here does not bring it again.
   */
  message?(data: string | ArrayBuffer): void;

  /**
   * The connection has an address, or another one than before: tell it to the backend that is to push to this page. There are several
   * where the server has several hosts; any one will do. It is a right to push, so treat it as a secret. Not called where the server keeps
   * addresses to itself, since it has a Greeting of its own.
   */
  address?(list: string[]): void;

  /** The WebSocket is lost, and attempts to come back have begun. `resumed` or `end` follows. */
  suspended?(): void;

  /**
   * The connection is open again: after each `suspended`, and with `persist` after a reload, too. What was pushed meanwhile follows as
   * messages. If anything was lost, `lost` has been called first.
   */
  resumed?(): void;

  /**
   * Messages have been lost, so the page should fetch anew what it shows. `count` says how many if `why` is "missed"; otherwise this is a
   * new session, nobody knows how many, and `address` follows.
   */
  lost?(why: Why, count?: number): void;

  /**
   * The connection is over and does not come back. Not called after `close()`. Call `connect` for a new one.
   *
   * `code` is that of the server's close frame, such as what Conn.Close was given; 3909 means that another page or program has taken the
   * session over. Or the server has refused: 3000 "unauthorized" (log in, and connect again) or 3003 "forbidden". Or 1002 "no hello of
   * wspush.v1": this is another server, or an older wspush.
   */
  end?(code: number, reason: string): void;

  /** The application's subprotocols, in order of preference, as for a WebSocket. The server's choice is `protocol`. */
  protocols?: string | string[];

  /**
   * "session" keeps the session in sessionStorage, so that it outlives a reload of the page, and a walk to another page of the origin
   * that connects to the same URL with this option. Messages from before do not come again, so the page has to keep what it needs of
   * them. A duplicated tab gets a session of its own, and is told `lost("off")`, since what it has copied may be old.
   *
   * Use it in one frame of a page, and once for a URL: a second connection to the same URL is not kept. The option does nothing where the
   * browser gives no sessionStorage or no Web Locks, as on plain http except to localhost: then a reload is a new session.
   */
  persist?: "session";
}

/**
 * "missed": the session lives, but `count` messages had been given up. The others begin a new session. "expired": the page was away for
 * longer than the server waits. "unknown": the server does not know the session, for example because it was killed. "unreachable": the
 * worker that has the session does not answer. "off": there was no session to come back to, since the server keeps none or had no room
 * for it.
 */
export type Why = "missed" | "expired" | "unknown" | "unreachable" | "off";

export interface Connection {
  /**
   * "connecting": never open so far. "open": messages come. "suspended": was open, and comes back by itself. "ended": after `end` or
   * `close()`.
   */
  readonly state: "connecting" | "open" | "suspended" | "ended";

  /** The last addresses that `address` was told; at first none. */
  readonly address: readonly string[];

  /** The application's subprotocol that the server chose, or "". */
  readonly protocol: string;

  /**
   * Sends a message to the server, unless the connection is not open: then returns false, and the message is not sent later. What it
   * returned true for can be lost, too, with the WebSocket: if it matters, let the server answer, or use HTTP.
   */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): boolean;

  /** Ends the connection and its session. No handler is called any more. */
  close(): void;
}
