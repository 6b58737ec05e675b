/** The open conversation: its messages with their ticks, who types, and what one writes. */

import { explain } from "../api.js";
import { busy, byId, el, fillList, onPress, onSubmit, say, setText, when } from "../dom.js";
import { ChatTyping } from "./typing.js";
import { Messages } from "./messages.js";

const PAGE = 30;
const TICKS = { sending: "…", sent: "✓", delivered: "✓✓", read: "✓✓", failed: "✗" };

export class Conversation {
  #link;
  #api;
  #names;
  #changed;
  #typing;
  #messages = new Messages();
  #me = "";
  #other = "";
  #cursor = null;
  #number = 0;

  /** `changed()` is called when a message was read here. */
  constructor(link, api, { names, changed }) {
    this.#link = link;
    this.#api = api;
    this.#names = names;
    this.#changed = changed;
    this.#typing = new ChatTyping(link, names, () => this.#other);
    this.#listen();
    names.watch(() => this.#title());
    onSubmit("chat-open-form", "chat-open", () => this.#openNamed());
    onSubmit("chat-form", "chat-send", () => this.#send());
    onPress("chat-older", () => this.#load(this.#cursor));
    onPress("chat-read-all", () => this.#readAll());
    this.#render();
  }

  begin(person) {
    this.#me = String(person?.id ?? "");
    this.#messages.clear();
    this.#cursor = null;
    this.#say("");
    this.#render();
  }

  async open(id) {
    byId("chat-receiver").value = id;
    await this.#openNamed();
  }

  #listen() {
    this.#link.on("message:new", (message) => this.#arrived(message));
    this.#link.on("message:sent", (message) => this.#arrived(message));
    this.#link.on("message:delivered", (data) => this.#moved(data?.messageId, "delivered"));
    this.#link.on("message:read", (data) => this.#moved(data?.messageId, "read"));
    this.#link.watch((state, before) => {
      if (state.name === "connected" && before.name !== "connected" && this.#other) this.#load();
    });
  }

  async #openNamed() {
    const id = byId("chat-receiver").value.trim();
    if (!id) {
      this.#say("Choose somebody, or write a user's id.", "bad");
      return byId("chat-receiver").focus();
    }
    if (id !== this.#other) this.#typing.stop();
    this.#other = id;
    this.#cursor = null;
    this.#typing.render();
    await this.#load();
    byId("chat-text").focus({ preventScroll: true });
  }

  /** The newest page, or the one before the cursor. */
  async #load(before) {
    const other = this.#other;
    const query = new URLSearchParams({ limit: PAGE, ...(before && { before }) });
    try {
      const answer = await this.#api.get(`/api/conversations/${encodeURIComponent(other)}/messages?${query}`);
      if (other !== this.#other) return;
      for (const row of answer?.messages ?? []) this.#messages.put(row);
      this.#cursor = answer?.nextCursor ?? null;
      this.#say("");
    } catch (error) {
      if (explain(error)) this.#say(explain(error), "bad");
    }
    this.#render({ stay: Boolean(before) });
  }

  async #send() {
    const content = byId("chat-text").value;
    const receiverId = this.#other || byId("chat-receiver").value.trim();
    if (!receiverId || !content.trim()) return this.#say("Choose somebody and write something.", "bad");
    this.#other = receiverId;
    this.#typing.stop();
    const tempId = `page-${Date.now()}-${++this.#number}`;
    const at = new Date().toISOString();
    const draft = { tempId, senderId: this.#me, receiverId, content, createdAt: at };
    this.#messages.put(draft);
    byId("chat-text").value = "";
    this.#render();
    try {
      const ack = await this.#link.request("message:send", { receiverId, content, tempId });
      this.#messages.put({ ...ack.message, tempId });
      this.#say(ack.duplicate ? "The server had this message already." : "");
    } catch (error) {
      this.#messages.put({ ...draft, status: "failed" });
      this.#say(explain(error) ?? "", "bad");
    }
    this.#render();
  }

  #arrived(message) {
    if (message === null || typeof message !== "object") return;
    this.#names.learn(message.sender);
    this.#messages.put(message);
    this.#render();
  }

  #moved(id, status) {
    this.#messages.advance(String(id), status);
    this.#render();
  }

  async #markRead(id) {
    try {
      await this.#link.request("message:read", { messageId: id });
      this.#messages.advance(id, "read");
      this.#changed();
    } catch (error) {
      this.#say(explain(error), "bad");
    }
    this.#render();
  }

  async #readAll() {
    if (!this.#other) return this.#say("Choose somebody first.", "bad");
    try {
      await this.#api.call("POST", `/api/conversations/${encodeURIComponent(this.#other)}/read`);
      for (const { id } of this.#unread()) this.#messages.advance(id, "read");
      this.#changed();
    } catch (error) {
      if (explain(error)) this.#say(explain(error), "bad");
    }
    this.#render();
  }

  #shown() {
    return this.#messages.between(this.#me, this.#other);
  }

  #unread() {
    return this.#shown().filter(({ senderId, status }) => senderId !== this.#me && status !== "read");
  }

  #say(text, kind) {
    say(byId("chat-message"), text, kind);
  }

  #render({ stay = false } = {}) {
    const list = byId("chat-messages");
    const height = list.scrollHeight;
    const items = this.#shown().map((message) => ({ ...message, mine: message.senderId === this.#me }));
    fillList("chat-messages", items, { key: ({ key }) => key, build: (message) => this.#bubble(message) });
    list.scrollTop = stay ? list.scrollHeight - height : list.scrollHeight;
    this.#title();
    const nobody = "Choose somebody who is online or a conversation, or write a user's id above.";
    setText(byId("chat-messages-empty"), this.#other ? "No messages yet." : nobody);
    byId("chat-older").hidden = !this.#cursor;
    byId("chat-read-all").disabled = this.#unread().length === 0;
  }

  #title() {
    setText(byId("chat-title"), this.#other ? this.#names.nameOf(this.#other) : "Conversation");
  }

  #bubble({ id, content, status, createdAt, mine }) {
    const read = el("button", {
      type: "button",
      class: "small quiet",
      "data-slot": "read",
      "data-testid": "chat-mark-read",
      "aria-label": `Mark read: ${content.slice(0, 40)}`,
      text: "Mark read",
      on: { click: (event) => busy(event.currentTarget, () => this.#markRead(id)) },
    });
    const tick = el(
      "span",
      { class: "tick", "data-status": status },
      el("span", { class: "tick-mark", "aria-hidden": "true", text: TICKS[status] }),
      ` ${status}`,
    );
    return el(
      "li",
      { class: "bubble", "data-mine": String(mine), "data-status": status, "data-message": id },
      el("p", { class: "bubble-text", text: content }),
      el(
        "p",
        { class: "bubble-meta" },
        el("time", { datetime: createdAt, text: when(createdAt) }),
        mine ? tick : status === "read" ? el("span", { text: "read" }) : read,
      ),
    );
  }
}
