/**
 * What every kind of connection has: a state, listeners, and a record of its traffic.
 *
 * States: disconnected, connecting, connected, reconnecting (it comes back by itself), refused (the server said no;
 * pressing Connect is the only way on).
 */

export const FIRST_DELAY_MS = 1_000;
export const LONGEST_DELAY_MS = 10_000;
const NOTHING = { detail: "", attempt: 0, transport: "", socketId: "" };

export class Link {
  #listeners = new Map();
  #traffic = [];
  #watchers = [];
  #farewell = "";
  state = { ...NOTHING, name: "disconnected" };

  constructor() {
    this.on("server_shutdown", (data) => this.#shutdown(data));
    this.on("token_expired", () => (this.#farewell = "The token has expired. Paste or make a new one."));
    this.on("FORCE_DISCONNECT", (data) => (this.#farewell = `The server ended this connection: ${data?.reason}`));
  }

  /** Listen to a server event, on this connection and on every later one. */
  on(event, listener) {
    const known = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...known, listener]);
  }

  /** Hear all traffic: listener(direction, name, args); directions: in, out, ack, state. */
  onTraffic(listener) {
    this.#traffic.push(listener);
  }

  /** Hear each change of state: listener(state, previous). */
  watch(listener) {
    this.#watchers.push(listener);
  }

  get connected() {
    return this.state.name === "connected";
  }

  // For the kinds of connection.

  /** Nothing of the last connection is left to show. */
  begin(name) {
    this.#farewell = "";
    this.become(name, NOTHING);
  }

  become(name, changes = {}) {
    const previous = this.state;
    this.state = { ...previous, ...changes, name };
    for (const watcher of this.#watchers) watcher(this.state, previous);
  }

  report(direction, name, args) {
    for (const listener of this.#traffic) listener(direction, name, args);
  }

  receive(name, args) {
    this.report("in", name, args);
    for (const listener of this.#listeners.get(name) ?? []) listener(...args);
  }

  /** What the server said before this connection ended; "" when it said nothing. */
  takeFarewell() {
    const farewell = this.#farewell;
    this.#farewell = "";
    return farewell;
  }

  /** Come back no sooner than that. */
  comeBackAfter(_milliseconds) {}

  #shutdown(data) {
    const seconds = Math.ceil(Number(data?.retryAfter) || 0);
    this.#farewell = seconds
      ? `The server is restarting and asked to come back in ${seconds} s.`
      : "The server is restarting.";
    this.comeBackAfter(Math.max(FIRST_DELAY_MS, Math.min(seconds * 1000, LONGEST_DELAY_MS)));
    this.become(this.state.name, { detail: this.#farewell });
  }
}

/** The JSON of a frame; null for what is none. */
export function frameFrom(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
