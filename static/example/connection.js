/**
 * One Socket.IO connection and what is to be known about it.
 *
 * States: disconnected, connecting, connected, reconnecting (the client comes back by itself), refused (the server said
 * no; pressing Connect is the only way on).
 */

import { Failure } from "./api.js";

const ACK_TIMEOUT_MS = 10_000;
const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 10_000;
const FAREWELLS = {
  "io server disconnect": "The server ended this connection. Connect to come back.",
  "io client disconnect": "",
  "ping timeout": "The server went silent.",
  "transport close": "The connection was lost.",
  "transport error": "The connection broke.",
};

export class Connection {
  #io;
  #socket = null;
  #listeners = new Map();
  #traffic = [];
  #watchers = [];
  #farewell = "";
  state = { name: "disconnected", detail: "", attempt: 0, transport: "", socketId: "" };

  constructor(io) {
    this.#io = io;
    this.on("server_shutdown", (data) => this.#shutdown(data));
    this.on("token_expired", () => (this.#farewell = "The token has expired. Paste or make a new one."));
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

  open(token) {
    this.#drop();
    const socket = this.#io({
      auth: { token },
      forceNew: true,
      reconnectionDelay: FIRST_DELAY_MS,
      reconnectionDelayMax: LONGEST_DELAY_MS,
    });
    this.#socket = socket;
    this.#farewell = "";
    this.#become("connecting", { detail: "", attempt: 0, transport: "", socketId: "" });
    this.#attach(socket);
  }

  close() {
    this.#drop();
    if (this.state.name === "disconnected") return;
    this.#report("state", "disconnect", ["io client disconnect"]);
    this.#become("disconnected", { detail: "", attempt: 0, transport: "", socketId: "" });
  }

  /** Emit and wait for the acknowledgement. Raises Failure with the server's code. */
  async request(event, ...args) {
    if (!this.connected) throw new Failure({ message: "Not connected." });
    let ack;
    try {
      ack = await this.#socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, ...args);
    } catch {
      throw new Failure({ message: "The server did not acknowledge in time." });
    }
    this.#report("ack", event, [ack]);
    if (ack?.success !== false) return ack ?? {};
    throw new Failure({ message: ack.message ?? ack.error ?? "Refused", code: ack.code, retryAfter: ack.retryAfter });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.disconnect();
  }

  #attach(socket) {
    const mine =
      (listener) =>
      (...args) => {
        if (socket === this.#socket) listener(...args);
      };
    socket.onAny(mine((name, ...args) => this.#receive(name, args)));
    socket.onAnyOutgoing(mine((name, ...args) => this.#report("out", name, args)));
    socket.on(
      "connect",
      mine(() => this.#connected(socket)),
    );
    socket.on(
      "disconnect",
      mine((reason) => this.#disconnected(socket, reason)),
    );
    socket.on(
      "connect_error",
      mine((error) => this.#failed(socket, error)),
    );
    socket.io.on(
      "reconnect_attempt",
      mine((attempt) => this.#become("reconnecting", { attempt })),
    );
  }

  #receive(name, args) {
    this.#report("in", name, args);
    for (const listener of this.#listeners.get(name) ?? []) listener(...args);
  }

  #connected(socket) {
    const engine = socket.io.engine;
    const transport = engine.transport.name;
    socket.io.reconnectionDelay(FIRST_DELAY_MS);
    this.#report("state", "connect", [{ id: socket.id, transport }]);
    this.#become("connected", { detail: "", attempt: 0, transport, socketId: socket.id });
    engine.once("upgrade", (upgraded) => {
      if (socket !== this.#socket || engine !== socket.io.engine) return;
      this.#report("state", "upgrade", [{ transport: upgraded.name }]);
      this.#become(this.state.name, { transport: upgraded.name });
    });
  }

  #disconnected(socket, reason) {
    this.#report("state", "disconnect", [reason]);
    const detail = this.#farewell || (FAREWELLS[reason] ?? reason);
    this.#farewell = "";
    this.#become(socket.active ? "reconnecting" : "disconnected", { detail, transport: "", socketId: "" });
  }

  #failed(socket, error) {
    const code = error.data?.code ?? (error.context?.status ? `HTTP ${error.context.status}` : "");
    this.#report("state", "connect_error", [{ message: error.message, ...(code && { code }) }]);
    const detail = (code ? `${code}: ` : "") + error.message;
    this.#become(socket.active ? "reconnecting" : "refused", { detail, transport: "", socketId: "" });
  }

  #shutdown(data) {
    const seconds = Math.ceil(Number(data?.retryAfter) || 0);
    this.#farewell = seconds
      ? `The server is restarting and asked to come back in ${seconds} s.`
      : "The server is restarting.";
    this.#socket.io.reconnectionDelay(Math.max(FIRST_DELAY_MS, Math.min(seconds * 1000, LONGEST_DELAY_MS)));
    this.#become(this.state.name, { detail: this.#farewell });
  }

  #become(name, changes) {
    const previous = this.state;
    this.state = { ...previous, ...changes, name };
    for (const watcher of this.#watchers) watcher(this.state, previous);
  }

  #report(direction, name, args) {
    for (const listener of this.#traffic) listener(direction, name, args);
  }
}
