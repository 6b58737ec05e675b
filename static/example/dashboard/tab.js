/** The namespace `/dashboard` and its plain twin: what happens, figures, channels, and who is online. */

import { byId, el, fillList, onPress, setText, when } from "../dom.js";
import { furnish } from "../furnish.js";
import { QuickSend } from "../quick-send.js";
import { maskedJson } from "../token.js";
import { TwinLink } from "../twin-link.js";
import { WAYS } from "../ways.js";
import { Channels } from "./channels.js";
import { Reports } from "./reports.js";

const PREFIX = "dash-";
const MOST = 100;
const MOST_PEOPLE = 200;
const SHAPES = {
  connected: ({ message }) => ["Connected", message],
  notification: ({ title, message, body }) => [title, message ?? body],
  announcement: ({ title, message, body }) => [title, message ?? body],
  activity: ({ type, message, userId }) => [`${type} · user ${userId}`, message],
  error: ({ code, message }) => [code, message],
};

export function dashboardTab({ io, shared }) {
  const link = new TwinLink(io, "/dashboard");
  const furniture = furnish("dashboard", {
    prefix: PREFIX,
    link,
    shared,
    ways: WAYS,
    begin: (person) => {
      for (const part of parts) part.begin(person);
    },
  });
  const parts = [
    new Feed(link),
    new Figures(link),
    new Statuses(link),
    new Channels(link),
    new Reports(furniture.api),
    new QuickSend(PREFIX, furniture.api),
  ];
  return { ...furniture, link };
}

class Feed {
  #items = [];
  #number = 0;

  constructor(link) {
    for (const name of Object.keys(SHAPES)) link.on(name, (data) => this.#heard(name, data));
    onPress("dash-feed-clear", () => this.begin());
    this.begin();
  }

  begin() {
    this.#items = [];
    this.#render();
  }

  #heard(name, data) {
    const [title, text] = SHAPES[name](Object(data));
    const at = data?.timestamp ?? new Date().toISOString();
    const item = { key: ++this.#number, name, title: title ?? "", text: text ?? "", at, priority: data?.priority };
    this.#items = [item, ...this.#items].slice(0, MOST);
    this.#render();
  }

  #render() {
    fillList("dash-feed", this.#items, { key: (item) => item.key, build: feedRow });
  }
}

function feedRow({ name, title, text, at, priority }) {
  const loud = priority && priority !== "normal";
  return el(
    "li",
    { class: "feed-row", "data-kind": name },
    el(
      "p",
      { class: "notification-meta" },
      el("span", { class: "tag strong", text: name }),
      loud ? el("span", { class: "tag", "data-priority": priority, text: priority }) : null,
      el("time", { datetime: at, text: when(at) }),
    ),
    el("p", { class: "notification-title", text: title || maskedJson(text) }),
    text ? el("p", { class: "notification-text", text }) : null,
  );
}

class Figures {
  constructor(link) {
    link.on("stats_update", (data) => this.#show(Object(data)));
  }

  begin() {
    this.#show({});
  }

  #show(figures) {
    for (const name of ["connections", "messages", "posts"]) {
      setText(byId(`dash-figure-${name}`), Number.isFinite(figures[name]) ? figures[name].toLocaleString() : "–");
    }
    setText(byId("dash-figures-at"), figures.timestamp ? `as of ${when(figures.timestamp)}` : "");
  }
}

/** What `user_status` has told since this connection was made: there is no list to begin with. */
class Statuses {
  #people = new Map();

  constructor(link) {
    link.on("user_status", (data) => this.#heard(data));
    this.begin();
  }

  begin() {
    this.#people.clear();
    this.#render();
  }

  #heard(data) {
    if (data?.userId == null) return;
    const id = String(data.userId);
    this.#people.delete(id);
    this.#people = new Map([[id, { id, status: String(data.status), at: data.timestamp }], ...this.#people]);
    if (this.#people.size > MOST_PEOPLE) this.#people.delete([...this.#people.keys()].at(-1));
    this.#render();
  }

  #render() {
    fillList("dash-people", [...this.#people.values()], { key: (person) => person.id, build: personRow });
  }
}

const personRow = ({ id, status, at }) =>
  el(
    "li",
    { "data-user": id },
    el("span", { class: "dot", "data-status": status, "aria-hidden": "true" }),
    el("span", { class: "row-name", text: `User ${id}` }),
    el("time", { class: "row-detail", datetime: at, text: when(at) }),
    el("span", { class: "tag", text: status }),
  );
