/**
 * socket.io-client under remote control. Every socket keeps what it has heard, in order, as {event, args}.
 *
 * The life of a socket is heard too: $open (transport), $upgrade (transport), $connect (id), $disconnect (reason),
 * $connect_error ({message, data}).
 */

import { EventEmitter } from "node:events";
import { io } from "socket.io-client";
import { serve, until } from "./lines.mjs";
import { Recorder, Recorders } from "./recorder.mjs";

const ACK_TIMEOUT_MS = 10_000;
const sockets = new Recorders();

class SocketRecorder extends Recorder {
  constructor(socket) {
    super();
    this.socket = socket;
    socket.onAny((event, ...args) => this.note(event, ...args));
    socket.io.on("open", () => {
      this.note("$open", socket.io.engine.transport.name);
      socket.io.engine.once("upgrade", (transport) => this.note("$upgrade", transport.name));
    });
    socket.on("connect", () => this.note("$connect", socket.id));
    socket.on("disconnect", (reason) => this.note("$disconnect", reason));
    socket.on("connect_error", ({ message, data }) => this.note("$connect_error", { message, data: data ?? null }));
  }
}

const ask = ({ socket }, event, args) => socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, ...args);

/** Many connections at once, of which only the ends matter. */
const crowd = { open: [], reasons: [], told: 0, changed: new EventEmitter() };
crowd.changed.setMaxListeners(0);
const crowdChanges = (check) => crowd.changed.on("change", check) && (() => crowd.changed.off("change", check));

const commands = {
  ...sockets.commands,

  /** Begin to connect: io(url, options), as every frontend does. With `forceNew: false` one origin is one connection. */
  open({ name, url, options }) {
    sockets.set(name, new SocketRecorder(io(url, { forceNew: true, ...options })));
  },

  ask: ({ name, event, args }) => ask(sockets.find(name), event, args),

  /** Emit an event once for each list of arguments, all at once, and return the acknowledgements. */
  askAll: ({ name, event, calls }) => Promise.all(calls.map((args) => ask(sockets.find(name), event, args))),

  emit({ name, event, args }) {
    sockets.find(name).socket.emit(event, ...args);
  },

  /** `connection` is the same for sockets that share one. */
  state({ name }) {
    const { socket } = sockets.find(name);
    const { engine } = socket.io;
    return {
      connected: socket.connected,
      active: socket.active,
      transport: engine?.transport?.name ?? null,
      connection: engine?.id ?? null,
    };
  },

  /** Leave as a closed tab does: no packet, the connection is just gone. */
  vanish({ name }) {
    sockets.find(name).socket.io.engine.close();
  },

  disconnect({ name }) {
    sockets.find(name).socket.disconnect();
  },

  async crowd({ url, tokens }) {
    let failed = 0;
    for (const token of tokens) {
      const socket = io(url, { auth: { token }, transports: ["websocket"], forceNew: true, reconnection: false });
      socket.on("connect", () => crowd.open.push(socket) && crowd.changed.emit("change"));
      socket.on("connect_error", () => ++failed && crowd.changed.emit("change"));
      socket.on("server_shutdown", () => ++crowd.told);
      socket.on("disconnect", (reason) => crowd.reasons.push(reason) && crowd.changed.emit("change"));
    }
    await until(() => crowd.open.length + failed >= tokens.length, {
      changes: crowdChanges,
      what: () => `${crowd.open.length} of ${tokens.length} connected, ${failed} refused`,
      ms: 30_000,
    });
    return { connected: crowd.open.length, failed };
  },

  async crowdGone() {
    await until(() => crowd.reasons.length >= crowd.open.length, {
      changes: crowdChanges,
      what: () => `${crowd.reasons.length} of ${crowd.open.length} disconnected`,
      ms: 20_000,
    });
    return { told: crowd.told, reasons: [...new Set(crowd.reasons)] };
  },
};

serve(commands, () => {
  for (const { socket } of sockets.values()) socket.disconnect();
  for (const socket of crowd.open) socket.disconnect();
});
