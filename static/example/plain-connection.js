/**
 * One plain WebSocket that speaks JSON: `{event, data, id}` with answers, or hotel guests' `{type, data}` without.
 *
 * It counts as connected with the server's first frame: a refused token is accepted first and then closed with 1008.
 */

import { Failure } from "./api.js";
import { accepted } from "./connection.js";
import { FIRST_DELAY_MS, frameFrom, Link, LONGEST_DELAY_MS } from "./link.js";

const ANSWER_TIMEOUT_MS = 10_000;
const FINAL_CODES = [1000, 1008];
const BROKEN_OFF = 4000;
const MEANINGS = {
  1001: "The server is going away.",
  1006: "The connection was lost.",
  [BROKEN_OFF]: "Broken off by this page.",
};

export class PlainConnection extends Link {
  #path;
  #nameKey;
  #socket = null;
  #query = {};
  #failures = 0;
  #shortest = 0;
  #timer = 0;
  #waiting = new Map();
  #asked = 0;

  constructor(path, nameKey = "event") {
    super();
    this.#path = path;
    this.#nameKey = nameKey;
  }

  open({ query = {} } = {}) {
    this.#drop();
    this.#query = query;
    this.#failures = 0;
    this.begin("connecting");
    this.#dial();
  }

  close() {
    this.#drop();
    if (this.state.name === "disconnected") return;
    this.report("state", "close", ["closed by this page"]);
    this.begin("disconnected");
  }

  /** End the connection as a bad network does: it comes back by itself. */
  breakOff() {
    this.#socket?.close(BROKEN_OFF);
  }

  comeBackAfter(milliseconds) {
    this.#shortest = milliseconds;
  }

  /** Send a frame that nobody answers. Raises Failure. */
  send(name, data) {
    this.#write(name, data);
  }

  /** Send an event and wait for its answer. Raises Failure with the server's code. */
  async request(event, data) {
    const id = ++this.#asked;
    const answered = new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Failure({ message: "The server did not answer in time." })),
        ANSWER_TIMEOUT_MS,
      );
      this.#waiting.set(id, { resolve, reject, timer });
    });
    try {
      this.#write(event, data, { id });
      return accepted(await answered);
    } finally {
      clearTimeout(this.#waiting.get(id)?.timer);
      this.#waiting.delete(id);
    }
  }

  #write(name, data, more = {}) {
    if (!this.connected) throw new Failure({ message: "Not connected." });
    this.#socket.send(JSON.stringify({ [this.#nameKey]: name, ...(data !== undefined && { data }), ...more }));
    this.report("out", name, data === undefined ? [] : [data]);
  }

  #drop() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#giveUp();
  }

  #giveUp() {
    for (const { reject } of this.#waiting.values()) reject(new Failure({ message: "The connection was lost." }));
    this.#waiting.clear();
  }

  #dial() {
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams(this.#query);
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.addEventListener("message", (event) => socket === this.#socket && this.#heard(event.data));
    socket.addEventListener("close", (event) => socket === this.#socket && this.#closed(event));
  }

  #heard(text) {
    if (!this.connected) this.#connected();
    const frame = frameFrom(text);
    const name = frame?.[this.#nameKey];
    if (typeof name !== "string") return this.report("in", "(not a known frame)", [text]);
    const asker = this.#waiting.get(frame.id);
    if (!asker) return this.receive(name, "data" in frame ? [frame.data] : []);
    this.report("ack", name, [frame.data]);
    asker.resolve(frame.data);
  }

  #connected() {
    this.#failures = 0;
    this.#shortest = 0;
    this.report("state", "open", [{ path: this.#path }]);
    this.become("connected", { detail: "", attempt: 0, transport: "plain WebSocket" });
  }

  #closed({ code, reason }) {
    this.report("state", "close", [{ code, reason }]);
    this.#giveUp();
    const detail = this.takeFarewell() || (reason ? `${code}: ${reason}` : (MEANINGS[code] ?? `Closed with ${code}.`));
    const final = FINAL_CODES.includes(code);
    const name = !final ? "reconnecting" : this.connected ? "disconnected" : "refused";
    this.#socket = null;
    if (!final) this.#dialLater();
    this.become(name, { detail, attempt: this.#failures, transport: "" });
  }

  /** Twice as long after each failure, with some chance in it, so that many clients do not come back at once. */
  #dialLater() {
    const usual = Math.min(FIRST_DELAY_MS * 2 ** this.#failures, LONGEST_DELAY_MS);
    this.#failures += 1;
    const delay = Math.max(this.#shortest, usual * (0.75 + Math.random() / 2));
    this.#timer = setTimeout(() => this.#dial(), delay);
  }
}
