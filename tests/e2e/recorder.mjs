/** What a client has heard, in order, as {event, args}; and waiting for what it is still to hear. */

import { EventEmitter } from "node:events";
import { until } from "./lines.mjs";

export class Recorder extends EventEmitter {
  heard = [];

  constructor() {
    super();
    this.setMaxListeners(0);
  }

  note(event, ...args) {
    this.heard.push({ event, args });
    this.emit("change");
  }

  /** The first argument of the `count`-th event of that name whose first argument has all fields of `fields`. */
  hears({ event, count = 1, fields = {}, ms }) {
    const found = () => this.heard.filter((each) => each.event === event && has(each.args[0], fields));
    return until(() => found().length >= count && { argument: found()[count - 1].args[0] }, {
      changes: (check) => this.watch(check),
      what: () => `${event} ${JSON.stringify(fields)} x ${count} not heard; heard ${this.#names()}`,
      ms,
    });
  }

  /** Wait until the latest event of that name has all fields of `fields`. */
  shows({ event, fields, ms }) {
    const latest = () => this.heard.findLast((each) => each.event === event);
    return until(() => latest() && has(latest().args[0], fields), {
      changes: (check) => this.watch(check),
      what: () => `the latest ${event} has not ${JSON.stringify(fields)}: ${JSON.stringify(latest()?.args[0])}`,
      ms,
    });
  }

  /** Call `check` after each change; returns how to stop that. */
  watch(check) {
    this.on("change", check);
    return () => this.off("change", check);
  }

  #names() {
    return this.heard.map(({ event }) => event).join(", ") || "nothing";
  }
}

const has = (value, fields) =>
  Object.entries(fields).every(([key, wanted]) => JSON.stringify(value?.[key]) === JSON.stringify(wanted));

/** Recorders by name, with the commands that every kind of them has. */
export class Recorders extends Map {
  find(name) {
    const found = this.get(name);
    if (!found) throw new Error(`no socket ${name}`);
    return found;
  }

  commands = {
    hears: async ({ name, ...wish }) => (await this.find(name).hears(wish)).argument,
    shows: async ({ name, ...wish }) => void (await this.find(name).shows(wish)),
    heard: ({ name }) => this.find(name).heard,
  };
}
