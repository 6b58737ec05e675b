/** One Socket.IO connection to a namespace. */

import { Failure } from "./api.js";
import { FIRST_DELAY_MS, Link, LONGEST_DELAY_MS } from "./link.js";

const ACK_TIMEOUT_MS = 10_000;
const FAREWELLS = {
  "io server disconnect": "The server ended this connection. Connect to come back.",
  "io client disconnect": "",
  "ping timeout": "The server went silent.",
  "transport close": "The connection was lost.",
  "transport error": "The connection broke.",
};

export class Connection extends Link {
  #io;
  #namespace;
  #socket = null;

  constructor(io, namespace = "/") {
    super();
    this.#io = io;
    this.#namespace = namespace;
  }

  /** Connect anew; what is carried with the handshake, such as a token, stands in `auth` or in `query`. */
  open({ auth, query } = {}) {
    this.#drop();
    const socket = this.#io(this.#namespace, {
      auth,
      query,
      forceNew: true,
      reconnectionDelay: FIRST_DELAY_MS,
      reconnectionDelayMax: LONGEST_DELAY_MS,
    });
    this.#socket = socket;
    this.begin("connecting");
    this.#attach(socket);
  }

  close() {
    this.#drop();
    if (this.state.name === "disconnected") return;
    this.report("state", "disconnect", ["io client disconnect"]);
    this.begin("disconnected");
  }

  comeBackAfter(milliseconds) {
    this.#socket.io.reconnectionDelay(milliseconds);
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
    this.report("ack", event, [ack]);
    return accepted(ack);
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
    socket.onAny(mine((name, ...args) => this.receive(name, args)));
    socket.onAnyOutgoing(mine((name, ...args) => this.report("out", name, args)));
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
      mine((attempt) => this.become("reconnecting", { attempt })),
    );
  }

  #connected(socket) {
    const engine = socket.io.engine;
    const transport = engine.transport.name;
    socket.io.reconnectionDelay(FIRST_DELAY_MS);
    this.report("state", "connect", [{ id: socket.id, transport }]);
    this.become("connected", { detail: "", attempt: 0, transport, socketId: socket.id });
    engine.once("upgrade", (upgraded) => {
      if (socket !== this.#socket || engine !== socket.io.engine) return;
      this.report("state", "upgrade", [{ transport: upgraded.name }]);
      this.become(this.state.name, { transport: upgraded.name });
    });
  }

  #disconnected(socket, reason) {
    this.report("state", "disconnect", [reason]);
    const detail = this.takeFarewell() || (FAREWELLS[reason] ?? reason);
    this.become(socket.active ? "reconnecting" : "disconnected", { detail, transport: "", socketId: "" });
  }

  #failed(socket, error) {
    const code = error.data?.code ?? (error.context?.status ? `HTTP ${error.context.status}` : "");
    this.report("state", "connect_error", [{ message: error.message, ...(code && { code }) }]);
    const detail = (code ? `${code}: ` : "") + error.message;
    this.become(socket.active ? "reconnecting" : "refused", { detail, transport: "", socketId: "" });
  }
}

/** Return an acknowledgement. Raises Failure when it says no. */
export function accepted(ack) {
  if (ack?.success !== false) return ack ?? {};
  throw new Failure({ message: ack.message ?? ack.error ?? "Refused", code: ack.code, retryAfter: ack.retryAfter });
}
