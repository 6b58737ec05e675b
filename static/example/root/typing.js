/** Telling a room that this user types, and showing who else does. */

import { explain } from "../api.js";
import { byId, el, say, setText } from "../dom.js";

const REPEAT_MS = 3_000;
const IDLE_MS = 2_000;
/** A stop may be lost with its connection; nobody is shown longer than this without a new start. */
const FORGET_MS = 6_000;

export class Typing {
  #connection;
  #nameOf;
  #me = null;
  #room = "";
  #chosen = false;
  #startedAt = 0;
  #idle = 0;
  #typists = new Map();

  constructor(connection, rooms, nameOf) {
    this.#connection = connection;
    this.#nameOf = nameOf;
    rooms.watch((names) => this.#offer(names));
    connection.on("user_typing_start", (data) => this.#heard(data, true));
    connection.on("user_typing_stop", (data) => this.#heard(data, false));
    connection.on("userTyping", (data) => this.#heard(data, data?.isTyping !== false));
    connection.watch((state) => state.name === "connected" || this.#silence());
    byId("typing-input").addEventListener("input", (event) => this.#typed(event.currentTarget.value));
    byId("typing-input").addEventListener("blur", () => this.#stop());
    byId("typing-room").addEventListener("change", () => {
      this.#chosen = true;
      this.#stop();
    });
    this.#render();
  }

  begin(person) {
    this.#me = person;
  }

  #offer(names) {
    const picker = byId("typing-room");
    const before = picker.value;
    const options = names.length
      ? names.map((name) => el("option", { value: name, text: name }))
      : [el("option", { value: "", text: "Join a room first" })];
    picker.replaceChildren(...options);
    this.#chosen &&= names.includes(before);
    picker.value = this.#chosen ? before : suggested(names);
    if (picker.value !== before) this.#stop();
  }

  #typed(text) {
    const room = byId("typing-room").value;
    if (!text || !room || !this.#connection.connected) {
      this.#stop();
      if (text)
        say(byId("typing-message"), this.#connection.connected ? "Join a room first." : "Connect first.", "bad");
      return;
    }
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#stop(), IDLE_MS);
    const now = performance.now();
    if (this.#room === room && now - this.#startedAt < REPEAT_MS) return;
    this.#room = room;
    this.#startedAt = now;
    this.#emit("typing_start", room);
  }

  #stop() {
    clearTimeout(this.#idle);
    const room = this.#room;
    this.#room = "";
    if (room && this.#connection.connected) this.#emit("typing_stop", room);
  }

  async #emit(event, roomName) {
    try {
      await this.#connection.request(event, { roomName });
      say(byId("typing-message"), "");
    } catch (error) {
      say(byId("typing-message"), explain(error), "bad");
    }
  }

  #heard(data, typing) {
    const id = data?.userId;
    if (id == null || String(id) === String(this.#me?.id)) return;
    const room = data.roomName ?? data.room ?? "";
    const key = `${id}\n${room}`;
    clearTimeout(this.#typists.get(key)?.timer);
    this.#typists.delete(key);
    if (typing) {
      const timer = setTimeout(() => this.#typists.delete(key) && this.#render(), FORGET_MS);
      this.#typists.set(key, { id, room, name: data.userName, timer });
    }
    this.#render();
  }

  #silence() {
    clearTimeout(this.#idle);
    this.#room = "";
    for (const { timer } of this.#typists.values()) clearTimeout(timer);
    this.#typists.clear();
    this.#render();
  }

  #render() {
    const all = [...this.#typists.values()];
    const inRooms = new Set(all.filter(({ room }) => room).map(({ id }) => String(id)));
    const lines = all
      .filter(({ id, room }) => room || !inRooms.has(String(id)))
      .map(({ id, room, name }) => `${name || this.#nameOf(id)} types${room ? ` in ${room}` : ""}`);
    const status = byId("typing-status");
    status.dataset.active = String(lines.length > 0);
    setText(status, lines.join(" · ") || "Nobody else is typing.");
  }
}

/** A shared room says more than one's own. */
const suggested = (names) =>
  names.find((name) => /^(work_order|ticket|booking)_/.test(name)) ??
  names.find((name) => !name.startsWith("user_")) ??
  names[0] ??
  "";
