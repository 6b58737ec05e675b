/**
 * Plain WebSockets of the `ws` package under remote control. Every socket keeps the messages it has heard, in order: the
 * event is what stands under `event` or `type`, its argument what stands under `data`.
 *
 * The life of a socket is heard too: $open, $ping (data), $pong (data), $close ({code, reason}), $refused (HTTP status).
 */

import { WebSocket } from "ws";
import { serve, until } from "./lines.mjs";
import { Recorder, Recorders } from "./recorder.mjs";

const sockets = new Recorders();
let asked = 0;

class PlainRecorder extends Recorder {
  answers = new Map();

  constructor(socket) {
    super();
    this.socket = socket;
    socket.on("open", () => this.note("$open"));
    socket.on("message", (data) => this.#hear(JSON.parse(data)));
    socket.on("ping", (data) => this.note("$ping", String(data)));
    socket.on("pong", (data) => this.note("$pong", String(data)));
    socket.on("close", (code, reason) => this.note("$close", { code, reason: String(reason) }));
    socket.on("unexpected-response", (request, { statusCode }) => {
      this.note("$refused", statusCode);
      request.destroy();
    });
    socket.on("error", () => {}); // "close" follows
  }

  #hear({ event, type, data, id }) {
    if (id !== undefined) this.answers.set(id, data);
    this.note(event ?? type, data);
  }
}

const commands = {
  ...sockets.commands,

  /** Begin to connect. `options` are those of the package, such as headers or autoPong. */
  open({ name, url, options }) {
    sockets.set(name, new PlainRecorder(new WebSocket(url, options)));
  },

  /** Send text as it is, anything else as JSON. */
  send({ name, message }) {
    sockets.find(name).socket.send(typeof message === "string" ? message : JSON.stringify(message));
  },

  sendBytes({ name, base64 }) {
    sockets.find(name).socket.send(Buffer.from(base64, "base64"));
  },

  ping({ name, data }) {
    sockets.find(name).socket.ping(data);
  },

  /** Send an event with an id and return the data of the answer that carries it. */
  async ask({ name, event, data }) {
    const recorder = sockets.find(name);
    const id = `request ${++asked}`;
    recorder.socket.send(JSON.stringify({ event, data, id }));
    await until(() => recorder.answers.has(id), {
      changes: (check) => recorder.watch(check),
      what: () => `no answer to ${event}`,
    });
    return recorder.answers.get(id);
  },

  /** Read nothing any more, not even pings. */
  pause({ name }) {
    sockets.find(name).socket.pause();
  },

  /** Be gone without a word, as a phone in a tunnel. */
  vanish({ name }) {
    sockets.find(name).socket.terminate();
  },

  close({ name, code, reason }) {
    sockets.find(name).socket.close(code, reason);
  },
};

serve(commands, () => {
  for (const { socket } of sockets.values()) socket.terminate();
});
