/** The rooms of this user. Acknowledgements tell this tab's rooms, the route those of all tabs together. */

import { explain } from "../api.js";
import { busy, byId, el, say, setText, syncList } from "../dom.js";

export class Rooms {
  #connection;
  #api;
  #person = null;
  #here = [];
  #elsewhere = [];
  #wanted = new Set();
  #watchers = [];

  constructor(connection, api) {
    this.#connection = connection;
    this.#api = api;
    connection.watch((state, before) => this.#follow(state, before));
    byId("refresh-rooms").addEventListener("click", (event) => busy(event.currentTarget, () => this.#load()));
    byId("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      busy(byId("join-room"), () => this.#joinNamed());
    });
    this.#render();
  }

  begin(person) {
    if (String(person?.id) !== String(this.#person?.id)) this.#wanted.clear();
    this.#person = person;
    this.#set([], []);
  }

  /** Hear each change: listener(rooms of this tab). */
  watch(listener) {
    this.#watchers.push(listener);
  }

  has(room) {
    return this.#here.includes(room);
  }

  /** Join, and join again after each reconnect. Raises Failure. */
  async join(room) {
    const ack = await this.#connection.request("join_room", room);
    this.#wanted.add(room);
    this.#acknowledged(ack);
  }

  async leave(room) {
    this.#wanted.delete(room);
    this.#acknowledged(await this.#connection.request("leave_room", room));
  }

  async #joinNamed() {
    const field = byId("join-room-name");
    const message = byId("join-message");
    const room = field.value.trim();
    if (!room) {
      say(message, "Write a room's name, for example work_order_1.", "bad");
      return field.focus();
    }
    try {
      await this.join(room);
      say(message, `Joined ${room}.`, "good");
      field.value = "";
    } catch (error) {
      say(message, explain(error), "bad");
      field.focus();
    }
  }

  async #press(action, room) {
    try {
      await this[action](room);
      say(byId("join-message"), action === "leave" ? `Left ${room}.` : `Joined ${room}.`, "good");
    } catch (error) {
      say(byId("join-message"), explain(error), "bad");
    }
  }

  async #follow(state, before) {
    if (state.name === "connected" && before.name !== "connected") {
      this.#set(automatic(this.#person), []);
      await this.#rejoin();
      await this.#load();
    } else if (state.name !== "connected" && before.name === "connected") {
      this.#set([], []);
      say(byId("join-message"), "");
    }
  }

  async #rejoin() {
    for (const room of [...this.#wanted]) {
      try {
        await this.join(room);
      } catch (error) {
        if (error.code) this.#wanted.delete(room);
        say(byId("join-message"), `${room}: ${explain(error)}`, "bad");
      }
    }
  }

  async #load() {
    if (!this.#person || !this.#connection.connected) return;
    try {
      const answer = await this.#api.get(`/api/websocket/user/${encodeURIComponent(this.#person.id)}/rooms`);
      if (this.#connection.connected) this.#merge(names(answer?.data?.rooms));
    } catch (error) {
      if (explain(error)) say(byId("join-message"), explain(error), "bad");
    }
  }

  #merge(all) {
    const here = this.#here.filter((room) => all.includes(room));
    this.#set(
      here,
      all.filter((room) => !here.includes(room)),
    );
  }

  #acknowledged(ack) {
    const here = Array.isArray(ack.rooms) ? names(ack.rooms) : [...this.#here];
    this.#set(
      here.filter((room) => room !== this.#connection.state.socketId),
      this.#elsewhere.filter((room) => !here.includes(room)),
    );
  }

  #set(here, elsewhere) {
    this.#here = here;
    this.#elsewhere = elsewhere;
    this.#render();
    for (const watcher of this.#watchers) watcher(this.#here);
  }

  #render() {
    const own = automatic(this.#person);
    const personal = own[0];
    const items = [
      ...this.#here.map((name) => ({ name, here: true, own: own.includes(name), fixed: name === personal })),
      ...this.#elsewhere.map((name) => ({ name, here: false, own: own.includes(name) })),
    ].sort((a, b) => Number(a.own) - Number(b.own) || a.name.localeCompare(b.name, undefined, { numeric: true }));
    syncList(byId("rooms"), items, { key: (item) => item.name, build: (item) => this.#row(item) });
    byId("rooms").hidden = items.length === 0;
    byId("rooms-empty").hidden = items.length > 0;
    setText(byId("rooms-count"), items.length ? String(items.length) : "");
    byId("known-rooms").replaceChildren(...items.map(({ name }) => el("option", { value: name })));
  }

  /** The personal room cannot be left, so it has no button. */
  #row({ name, here, own, fixed }) {
    const action = here ? "leave" : "join";
    const tag = here ? (own ? "automatic" : null) : "in another tab";
    return el(
      "li",
      { "data-room": name },
      el("span", { class: "mono row-name", text: name }),
      tag && el("span", { class: "tag", text: tag }),
      fixed
        ? null
        : el("button", {
            type: "button",
            class: "small quiet",
            "data-slot": "room",
            "data-testid": `${action}-${name}`,
            "aria-label": here ? `Leave ${name}` : `Join ${name} here too`,
            text: here ? "Leave" : "Join",
            on: { click: (event) => busy(event.currentTarget, () => this.#press(action, name)) },
          }),
    );
  }
}

const names = (rooms) => (Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string") : []);

/** The rooms that the server joins at connect. */
function automatic(person) {
  if (!person) return [];
  const staff = ["admin", "manager"].includes(person.role) ? ["admin_room"] : [];
  return [`user_${encoded(person.id)}`, ...(person.role ? [`role_${encoded(person.role)}`] : []), ...staff];
}

/** Ids inside room names are percent-encoded, except for what a room name may contain. */
const encoded = (id) =>
  encodeURIComponent(id)
    .replace(/[!*'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%(?:3A|40|7C|2B)/g, decodeURIComponent);
