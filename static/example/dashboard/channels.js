/** The channels of a dashboard. The server's answers tell which ones this connection has. */

import { explain } from "../api.js";
import { busy, byId, el, fillList, onSubmit, say } from "../dom.js";

export class Channels {
  #link;
  #names = new Set();

  constructor(link) {
    this.#link = link;
    link.on("subscribed", (data) => this.#changed(data, true));
    link.on("unsubscribed", (data) => this.#changed(data, false));
    link.watch((state, before) => this.#follow(state, before));
    onSubmit("dash-channel-form", "dash-subscribe", () => this.#subscribe());
    this.#render();
  }

  begin() {
    this.#names.clear();
    this.#say("");
    this.#render();
  }

  /** A new connection has no channels: subscribe to the old one's again. */
  #follow(state, before) {
    if (state.name !== "connected" || before.name === "connected" || !this.#names.size) return;
    this.#ask("subscribe", [...this.#names]);
  }

  #changed(data, subscribed) {
    for (const name of data?.channels ?? []) {
      if (subscribed) this.#names.add(name);
      else this.#names.delete(name);
    }
    this.#render();
  }

  async #subscribe() {
    const field = byId("dash-channel");
    const channels = field.value
      .split(",")
      .map((each) => each.trim())
      .filter(Boolean);
    if (!channels.length) {
      this.#say("Write a channel's name, for example stats.", "bad");
      return field.focus();
    }
    if (await this.#ask("subscribe", channels)) field.value = "";
  }

  async #ask(event, channels) {
    try {
      const ack = await this.#link.request(event, { channels });
      const refused = ack.rejected?.length ? ` Refused: ${ack.rejected.join(", ")}.` : "";
      const done = event === "subscribe" ? "Subscribed to" : "Unsubscribed from";
      this.#say(`${done} ${ack.channels?.join(", ")}.${refused}`, refused ? "bad" : "good");
      return true;
    } catch (error) {
      this.#say(explain(error), "bad");
      return false;
    }
  }

  #say(text, kind) {
    say(byId("dash-channel-message"), text, kind);
  }

  #render() {
    const names = [...this.#names].sort();
    fillList("dash-channels", names, { key: (name) => name, build: (name) => this.#row(name) });
  }

  #row(name) {
    const leave = el("button", {
      type: "button",
      class: "small quiet",
      "data-slot": "channel",
      "data-testid": `unsubscribe-${name}`,
      "aria-label": `Unsubscribe from ${name}`,
      text: "Unsubscribe",
      on: { click: (event) => busy(event.currentTarget, () => this.#ask("unsubscribe", [name])) },
    });
    return el("li", { "data-channel": name }, el("span", { class: "mono row-name", text: name }), leave);
  }
}
