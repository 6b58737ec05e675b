/** The inbox as server-sent events, for clients that cannot use WebSockets. Only a cookie can carry its token. */

import { explain } from "../api.js";
import { byId, el, fillList, onPress, say, setText, when, words } from "../dom.js";
import { StreamLink } from "../stream-link.js";
import { maskedJson } from "../token.js";
import { dropCookie, inCookie } from "../ways.js";

const MOST = 50;

export class EventStreamCard {
  link = new StreamLink("/notifications/events");
  #token;
  #events = [];
  #number = 0;

  /** `token()` is the one that the cookie gets. */
  constructor(token) {
    this.#token = token;
    this.link.onTraffic((direction, name, args) => direction === "in" && this.#heard(name, args[0]));
    this.link.on("unread_count", (data) => setText(byId("stream-unread"), String(data?.count ?? "–")));
    this.link.watch((state) => this.#render(state));
    onPress("stream-open", () => this.#open());
    byId("stream-close").addEventListener("click", () => this.link.close());
    onPress("stream-reopen", () => this.#reopen());
    onPress("stream-forget", () => this.#forget());
    this.#render(this.link.state);
    this.#list();
  }

  async #open() {
    const token = this.#token();
    if (!token) return this.#say("Paste or make a token above first.", "bad");
    try {
      await inCookie(token);
      this.#say("");
      this.link.open();
    } catch (error) {
      this.#say(explain(error), "bad");
    }
  }

  /** The cookie is there already. */
  #reopen() {
    this.link.close();
    this.link.open();
  }

  async #forget() {
    this.link.close();
    this.link.forgetPlace();
    this.#events = [];
    setText(byId("stream-unread"), "–");
    try {
      await dropCookie();
      this.#say("The cookie and the last event id are gone.", "good");
    } catch (error) {
      this.#say(explain(error), "bad");
    }
    this.#render(this.link.state);
    this.#list();
  }

  #heard(name, data) {
    setText(byId("stream-place"), this.link.place || "–");
    if (name === "ping") return;
    const event = { key: ++this.#number, name, at: new Date().toISOString(), text: summary(name, data) };
    this.#events = [event, ...this.#events].slice(0, MOST);
    this.#list();
  }

  #say(text, kind) {
    say(byId("stream-message"), text, kind);
  }

  #render(state) {
    const pill = byId("stream-state");
    pill.dataset.state = state.name;
    setText(pill, words(state.name));
    if (state.detail) this.#say(state.detail, "bad");
    setText(byId("stream-place"), this.link.place || "–");
    const live = ["connecting", "connected", "reconnecting"].includes(state.name);
    byId("stream-open").disabled = live;
    byId("stream-open").textContent = this.link.place ? "Resume" : "Open";
    byId("stream-close").disabled = !live;
    byId("stream-reopen").disabled = !live;
  }

  #list() {
    fillList("stream-events", this.#events, { key: (event) => event.key, build: row });
  }
}

function summary(name, data) {
  if (name === "notification") return data?.title ?? "";
  if (name === "unread_count") return `${data?.count} unread`;
  return maskedJson(data);
}

const row = ({ name, text, at }) =>
  el(
    "li",
    {},
    el("span", { class: "tag strong", text: name }),
    el("span", { class: "row-name", text }),
    el("time", { class: "row-detail", datetime: at, text: when(at) }),
  );
