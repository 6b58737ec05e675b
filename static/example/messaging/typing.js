/** Telling the other side of a conversation that one types, and showing that they do. */

import { explain } from "../api.js";
import { byId, say, setText } from "../dom.js";

const REPEAT_MS = 3_000;
const IDLE_MS = 2_000;
/** A stop may be lost with its connection; nobody is shown longer than this without a new start. */
const FORGET_MS = 6_000;

export class ChatTyping {
  #link;
  #names;
  #receiver;
  #told = "";
  #toldAt = 0;
  #idle = 0;
  #typists = new Map();

  /** `receiver()` is whom one writes to. */
  constructor(link, names, receiver) {
    this.#link = link;
    this.#names = names;
    this.#receiver = receiver;
    link.on("typing:start", (data) => this.#heard(data, true));
    link.on("typing:stop", (data) => this.#heard(data, false));
    link.on("message:new", (data) => this.#heard(data, false));
    link.watch((state) => state.name === "connected" || this.#silence());
    byId("chat-text").addEventListener("input", (event) => this.#typed(event.currentTarget.value));
    byId("chat-text").addEventListener("blur", () => this.stop());
    this.render();
  }

  /** One's own indicator ends. */
  stop() {
    clearTimeout(this.#idle);
    const receiver = this.#told;
    this.#told = "";
    if (receiver && this.#link.connected) this.#emit("typing:stop", receiver);
  }

  render() {
    const names = [...this.#typists.keys()].map((id) => this.#names.nameOf(id));
    const status = byId("chat-typing");
    status.dataset.active = String(names.length > 0);
    setText(
      status,
      names.length ? `${names.join(", ")} ${names.length === 1 ? "types" : "type"} …` : "Nobody types to you.",
    );
  }

  #typed(text) {
    const receiver = this.#receiver();
    if (!text || !receiver || !this.#link.connected) return this.stop();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.stop(), IDLE_MS);
    const now = performance.now();
    if (this.#told === receiver && now - this.#toldAt < REPEAT_MS) return;
    this.#told = receiver;
    this.#toldAt = now;
    this.#emit("typing:start", receiver);
  }

  async #emit(event, receiverId) {
    try {
      await this.#link.request(event, { receiverId });
    } catch (error) {
      say(byId("chat-message"), explain(error), "bad");
    }
  }

  #heard(data, typing) {
    const id = data?.senderId ?? data?.userId;
    if (id == null) return;
    clearTimeout(this.#typists.get(String(id)));
    this.#typists.delete(String(id));
    if (typing) {
      const forget = () => this.#typists.delete(String(id)) && this.render();
      this.#typists.set(String(id), setTimeout(forget, FORGET_MS));
    }
    this.render();
  }

  #silence() {
    clearTimeout(this.#idle);
    this.#told = "";
    for (const timer of this.#typists.values()) clearTimeout(timer);
    this.#typists.clear();
    this.render();
  }
}
