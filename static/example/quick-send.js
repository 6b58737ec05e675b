/** A short form that sends one stored notification, to be heard on the same tab. */

import { explain } from "./api.js";
import { byId, onSubmit, say, stamp, suggest } from "./dom.js";

export class QuickSend {
  #prefix;
  #api;

  constructor(prefix, api) {
    this.#prefix = prefix;
    this.#api = api;
    stamp("quick-send-template", byId(`${prefix}quick-card`), prefix);
    onSubmit(`${prefix}quick-form`, `${prefix}quick-send`, () => this.#send());
  }

  /** Suggest oneself. */
  begin(person) {
    suggest(byId(`${this.#prefix}quick-user-id`), person?.id);
  }

  async #send() {
    const value = (name) => byId(`${this.#prefix}quick-${name}`).value.trim();
    const message = byId(`${this.#prefix}quick-result`);
    const body = { userId: value("user-id"), title: value("title"), message: value("message") };
    try {
      const row = await this.#api.call("POST", "/api/notifications", body);
      say(message, `Sent as #${row?.id}.`, "good");
    } catch (error) {
      say(message, explain(error) ?? "", "bad");
    }
  }
}
