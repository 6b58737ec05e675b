/**
 * socket.io-client under remote control. Every socket keeps what it has heard, in order, as {event, args}.
 *
 * The life of a socket is heard too: $open (transport), $upgrade (transport), $connect (id), $disconnect (reason),
 * $connect_error ({message, data}).
 */

import { EventEmitter } from "node:events";
import { io } from "socket.io-client";
import { serve, until } from "./lines.mjs";

const ACK_TIMEOUT_MS = 10_000;
const sockets = new Map();

class Recorder extends EventEmitter {
  heard = [];

  constructor(socket) {
    super();
    this.setMaxListeners(0);
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

  note(event, ...args) {
    this.heard.push({ event, args });
    this.emit("change");
  }

  /** The first argument of the `count`-th event of that name whose first argument has all fields of `fields`. */
  hears({ event, count = 1, fields = {}, ms }) {
    const found = () => this.heard.filter((each) => each.event === event && has(each.args[0], fields));
    return until(() => found().length >= count && { argument: found()[count - 1].args[0] }, {
      changes: (check) => this.on("change", check) && (() => this.off("change", check)),
      what: () => `${event} ${JSON.stringify(fields)} x ${count} not heard; heard ${this.#names()}`,
      ms,
    });
  }

  /** Wait until the latest event of that name has all fields of `fields`. */
  shows({ event, fields, ms }) {
    const latest = () => this.heard.findLast((each) => each.event === event);
    return until(() => latest() && has(latest().args[0], fields), {
      changes: (check) => this.on("change", check) && (() => this.off("change", check)),
      what: () => `the latest ${event} has not ${JSON.stringify(fields)}: ${JSON.stringify(latest()?.args[0])}`,
      ms,
    });
  }

  #names() {
    return this.heard.map(({ event }) => event).join(", ") || "nothing";
  }
}

const has = (value, fields) =>
  Object.entries(fields).every(([key, wanted]) => JSON.stringify(value?.[key]) === JSON.stringify(wanted));

function recorder(name) {
  const found = sockets.get(name);
  if (!found) throw new Error(`no socket ${name}`);
  return found;
}

/** Many connections at once, of which only the ends matter. */
const crowd = { open: [], reasons: [], told: 0, changed: new EventEmitter() };
crowd.changed.setMaxListeners(0);
const crowdChanges = (check) => crowd.changed.on("change", check) && (() => crowd.changed.off("change", check));

const commands = {
  /** Begin to connect: io(url, options), as every frontend does. */
  open({ name, url, options }) {
    sockets.set(name, new Recorder(io(url, { forceNew: true, ...options })));
  },

  async hears({ name, ...wish }) {
    return (await recorder(name).hears(wish)).argument;
  },

  async shows({ name, ...wish }) {
    await recorder(name).shows(wish);
  },

  heard: ({ name }) => recorder(name).heard,

  ask: ({ name, event, args }) => recorder(name).socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, ...args),

  emit({ name, event, args }) {
    recorder(name).socket.emit(event, ...args);
  },

  state({ name }) {
    const { socket } = recorder(name);
    return { connected: socket.connected, active: socket.active, transport: socket.io.engine?.transport?.name ?? null };
  },

  /** Leave as a closed tab does: no packet, the connection is just gone. */
  vanish({ name }) {
    recorder(name).socket.io.engine.close();
  },

  disconnect({ name }) {
    recorder(name).socket.disconnect();
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
