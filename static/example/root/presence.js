/** Who is online. The list comes from the route; after that every change comes as an event. */

import { explain } from "../api.js";
import { busy, byId, el, say, setText, syncList, words } from "../dom.js";

const SHOWN = 100;
const REST_MS = 1_000;

export class Presence {
  #connection;
  #api;
  #me = null;
  #people = new Map();
  #names = new Map();
  #touched = new Map();
  #clock = 0;
  #loadedAt = 0;
  #painting = false;

  constructor(connection, api) {
    this.#connection = connection;
    this.#api = api;
    connection.watch((state, before) => this.#follow(state, before));
    this.#listen();
    byId("status-form").addEventListener("submit", (event) => {
      event.preventDefault();
      busy(byId("set-status"), () => this.#setStatus());
    });
    byId("refresh-presence").addEventListener("click", (event) => busy(event.currentTarget, () => this.#load()));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && Date.now() - this.#loadedAt > REST_MS) this.#load();
    });
    this.#paint();
  }

  begin(person) {
    this.#me = person;
    this.#people.clear();
    this.#names.clear();
    if (person?.name) this.#names.set(String(person.id), person.name);
    this.#paint();
  }

  /** The best name known for a user id. */
  nameOf(id) {
    return this.#names.get(String(id)) ?? `User ${id}`;
  }

  #listen() {
    const seen = (data) => this.#note(data);
    const gone = (data) => this.#forget(data);
    this.#connection.on("userOnline", seen);
    this.#connection.on("user_online", seen);
    this.#connection.on("statusUpdated", seen);
    this.#connection.on("user_presence_update", (data) =>
      seen(data?.workOrderId == null ? data : { ...data, status: "" }),
    );
    this.#connection.on("user_activity_update", seen);
    this.#connection.on("userOffline", gone);
    this.#connection.on("user_offline", gone);
  }

  #note(data) {
    const change = entry(data);
    if (!change) return;
    if (change.status === "offline") return this.#forget(data);
    this.#merge(change);
    this.#touched.set(change.id, ++this.#clock);
    this.#paint();
  }

  #forget(data) {
    const change = entry(data);
    if (!change) return;
    this.#people.delete(change.id);
    this.#touched.set(change.id, ++this.#clock);
    this.#paint();
  }

  #merge({ id, name, status, role }) {
    if (name) this.#names.set(id, name);
    const old = this.#people.get(id) ?? { id, status: "online", role: "" };
    this.#people.set(id, { id, status: status || old.status, role: role || old.role });
  }

  #follow(state, before) {
    if (state.name === "connected" && before.name !== "connected") this.#load();
    if (state.name !== "connected" && before.name === "connected") {
      this.#people.clear();
      this.#paint();
    }
  }

  async #load() {
    if (!this.#connection.connected) return;
    const asked = this.#clock;
    const socket = this.#connection.state.socketId;
    this.#loadedAt = Date.now();
    try {
      const answer = await this.#api.get("/api/presence");
      if (this.#connection.state.socketId === socket) this.#replace(answer?.online ?? [], asked);
      say(byId("status-message"), "");
    } catch (error) {
      if (explain(error)) say(byId("status-message"), explain(error), "bad");
    }
  }

  /** Take the route's list, except for people of whom an event has told something newer meanwhile. */
  #replace(list, asked) {
    const newer = (id) => (this.#touched.get(id) ?? 0) > asked;
    for (const id of [...this.#people.keys()]) if (!newer(id)) this.#people.delete(id);
    for (const each of list) {
      const person = entry(each);
      if (person && !newer(person.id)) this.#merge(person);
    }
    for (const [id, at] of this.#touched) if (at <= asked) this.#touched.delete(id);
    this.#paint();
  }

  async #setStatus() {
    const status = byId("my-status").value;
    try {
      await this.#connection.request("updateStatus", { status });
      await this.#load();
      say(byId("status-message"), `You are shown as ${words(status).toLowerCase()}.`, "good");
    } catch (error) {
      say(byId("status-message"), explain(error), "bad");
    }
  }

  /** At most one rendering a frame, however many events arrive. */
  #paint() {
    if (this.#painting) return;
    this.#painting = true;
    requestAnimationFrame(() => {
      this.#painting = false;
      this.#render();
    });
  }

  #render() {
    const mine = String(this.#me?.id);
    const people = Array.from(this.#people.values(), (each) => ({
      ...each,
      name: this.nameOf(each.id),
      me: each.id === mine,
    }));
    people.sort((a, b) => Number(b.me) - Number(a.me) || a.name.localeCompare(b.name, undefined, { numeric: true }));
    syncList(byId("presence"), people.slice(0, SHOWN), { key: (each) => each.id, build: row });
    byId("presence").hidden = people.length === 0;
    byId("presence-empty").hidden = people.length > 0;
    setText(
      byId("presence-empty"),
      this.#connection.connected ? "Nobody is shown as online." : "Connect to see who is here.",
    );
    setText(
      byId("presence-count"),
      people.length ? String(people.length) + (people.length > SHOWN ? `, first ${SHOWN}` : "") : "",
    );
    byId("known-users").replaceChildren(
      ...people.slice(0, SHOWN).map((each) => el("option", { value: each.id, label: each.name })),
    );
  }
}

/** An id, or any of the shapes in which the server names a person; null when nobody is named. */
function entry(data) {
  const id = data !== null && typeof data === "object" ? (data.userId ?? data.id) : data;
  if (id == null) return null;
  const { userName, name, status, userRole, role } = Object(data);
  return { id: String(id), name: userName ?? name ?? "", status: text(status), role: text(userRole ?? role) };
}

const text = (value) => (typeof value === "string" ? value : "");

function row({ id, name, status, role, me }) {
  return el(
    "li",
    { "data-user": id },
    el("span", { class: "dot", "data-status": status, "aria-hidden": "true" }),
    el("span", { class: "row-name", text: me ? `${name} (you)` : name }),
    el("span", { class: "row-detail", text: [`#${id}`, role].filter(Boolean).join(" · ") }),
    el("span", { class: "tag", text: words(status) }),
  );
}
