/** Whom one can write to: who is online, and the names of everybody heard of. */

import { explain } from "../api.js";
import { byId, el, fillList, onPress, say, setText } from "../dom.js";

const SHOWN = 100;
const SETTLE_MS = 250;

export class Correspondents {
  #link;
  #api;
  #open;
  #me = "";
  #online = new Set();
  #names = new Map();
  #watchers = [];
  #timer = 0;

  /** `open(id)` is called when somebody is chosen. */
  constructor(link, api, open) {
    this.#link = link;
    this.#api = api;
    this.#open = open;
    link.on("ONLINE_USERS", (data) => this.#listed(data?.users));
    link.on("presence:online", (data) => this.#changed(data, true));
    link.on("presence:offline", (data) => this.#changed(data, false));
    link.watch((state, before) => this.#follow(state, before));
    onPress("chat-online-refresh", () => this.#ask());
    this.#render();
  }

  begin(person) {
    clearTimeout(this.#timer);
    this.#me = String(person?.id ?? "");
    this.#online.clear();
    this.#names.clear();
    this.#render();
  }

  nameOf(id) {
    return this.#names.get(String(id)) ?? `User ${id}`;
  }

  learn(person) {
    if (person?.id == null || !person.name || this.#names.get(String(person.id)) === person.name) return;
    this.#names.set(String(person.id), person.name);
    this.#render();
    for (const watcher of this.#watchers) watcher();
  }

  /** Hear when a name was learnt. */
  watch(watcher) {
    this.#watchers.push(watcher);
  }

  #follow(state, before) {
    if (state.name === "connected" && before.name !== "connected") this.#ask();
    if (state.name !== "connected" && before.name === "connected") this.#listed([]);
  }

  /** The socket tells who is there, the route what they are called. */
  async #ask() {
    try {
      await this.#link.request("GET_ONLINE_USERS", {});
      await this.#learnNames();
      say(byId("chat-online-message"), "");
    } catch (error) {
      if (explain(error)) say(byId("chat-online-message"), explain(error), "bad");
    }
  }

  async #learnNames() {
    const answer = await this.#api.get("/api/presence");
    for (const each of answer?.online ?? []) this.learn({ id: each.userId, name: each.userName });
  }

  /** Many may come at once: one request names them all. Without it they are shown by their ids. */
  #learnSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#learnNames().catch(() => {}), SETTLE_MS);
  }

  #listed(users) {
    this.#online = new Set((Array.isArray(users) ? users : []).map(String));
    this.#render();
  }

  #changed(data, online) {
    if (data?.userId == null) return;
    const id = String(data.userId);
    if (online) this.#online.add(id);
    else this.#online.delete(id);
    if (online && !this.#names.has(id)) this.#learnSoon();
    this.#render();
  }

  #render() {
    const people = [...this.#online]
      .map((id) => ({ id, name: this.nameOf(id), me: id === this.#me }))
      .sort((a, b) => Number(a.me) - Number(b.me) || a.name.localeCompare(b.name, undefined, { numeric: true }));
    fillList("chat-online", people.slice(0, SHOWN), { key: ({ id }) => id, build: (person) => this.#row(person) });
    setText(byId("chat-online-count"), people.length ? String(people.length) : "");
    byId("chat-people").replaceChildren(
      ...people
        .filter(({ me }) => !me)
        .slice(0, SHOWN)
        .map(({ id, name }) => el("option", { value: id, label: name })),
    );
  }

  #row({ id, name, me }) {
    const write = el("button", {
      type: "button",
      class: "small quiet",
      "data-slot": "write",
      "data-testid": `write-${id}`,
      "aria-label": `Write to ${name}`,
      text: "Write",
      on: { click: () => this.#open(id) },
    });
    return el(
      "li",
      { "data-user": id },
      el("span", { class: "dot", "data-status": "online", "aria-hidden": "true" }),
      el("span", { class: "row-name", text: me ? `${name} (you)` : name }),
      el("span", { class: "row-detail", text: `#${id}` }),
      me ? null : write,
    );
  }
}
