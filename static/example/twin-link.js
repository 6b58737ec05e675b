/** A namespace and its plain twin, of which one is used at a time; whoever listens need not know which. */

import { Connection } from "./connection.js";
import { PlainConnection } from "./plain-connection.js";

export class TwinLink {
  #links;
  #now;

  constructor(io, path) {
    this.#links = { socketio: new Connection(io, path), plain: new PlainConnection(path) };
    this.#now = this.#links.socketio;
  }

  on(event, listener) {
    for (const link of Object.values(this.#links)) link.on(event, listener);
  }

  onTraffic(listener) {
    for (const link of Object.values(this.#links)) link.onTraffic(listener);
  }

  watch(listener) {
    for (const link of Object.values(this.#links)) {
      link.watch((state, before) => link === this.#now && listener(state, before));
    }
  }

  get state() {
    return this.#now.state;
  }

  get connected() {
    return this.#now.connected;
  }

  /** `kind` is socketio or plain. */
  open(carried, kind) {
    const link = this.#links[kind];
    if (link !== this.#now) this.#now.close();
    this.#now = link;
    link.open(carried);
  }

  close() {
    this.#now.close();
  }

  request(event, ...args) {
    return this.#now.request(event, ...args);
  }
}
