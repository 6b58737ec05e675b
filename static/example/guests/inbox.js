/**
 * What a guest was sent: live frames, and the route's list, which clients fall back on while they have no socket.
 *
 * The socket brings what was missed, so the list is asked for only on demand and while the link is down.
 */

import { explain } from "../api.js";
import { showUnread } from "../badge.js";
import { byId, fillList, onPress, say } from "../dom.js";
import { normal, notificationCard } from "../notification-card.js";

const PAGE = 50;
const MOST = 100;
const POLL_MS = 5_000;
const PATH = "/api/communications";

export class GuestInbox {
  #link;
  #api;
  #rows = new Map();
  #timer = 0;
  #number = 0;
  #known = false;

  constructor(link, api) {
    this.#link = link;
    this.#api = api;
    link.on("notification", (data) => this.#heard(data));
    link.on("system", (data) => this.#notice(data));
    link.watch((state) => this.#follow(state));
    link.on("connection", () => this.#learn());
    onPress("guest-poll", () => this.#poll("Asked the route."));
    byId("guest-poll-always").addEventListener("change", () => this.#follow(link.state));
    this.#render();
  }

  begin() {
    this.#rows.clear();
    this.#known = false;
    say(byId("guest-inbox-message"), "");
    this.#render();
  }

  #follow(state) {
    const wanted = state.name === "reconnecting" && byId("guest-poll-always").checked;
    if (wanted && !this.#timer) {
      this.#timer = setInterval(() => this.#poll("No socket: asked the route instead."), POLL_MS);
    } else if (!wanted) {
      clearInterval(this.#timer);
      this.#timer = 0;
    }
  }

  /** From now on what is not listed is not unread. */
  #learn() {
    this.#known = true;
    this.#render();
  }

  #heard(data) {
    if (data === null || typeof data !== "object") return;
    const test = data.category === "test" && data.hotel_id === null;
    this.#put({ ...shape(data), stored: !test, ...(test && { note: "test, not stored" }) });
    this.#render();
  }

  #notice(data) {
    const row = { id: `notice-${++this.#number}`, title: "Notice to everybody", type: "system", priority: "" };
    this.#put({ ...row, message: String(data?.message ?? ""), at: data?.timestamp, read: false, stored: false });
    this.#render();
  }

  async #poll(done) {
    try {
      const answer = await this.#api.get(`${PATH}?limit=${PAGE}`);
      for (const row of answer?.data ?? []) this.#put(shape(row));
      this.#known = true;
      say(byId("guest-inbox-message"), `${done} ${answer?.pagination?.total ?? 0} in all.`, "good");
    } catch (error) {
      if (explain(error)) say(byId("guest-inbox-message"), explain(error), "bad");
    }
    this.#render();
  }

  async #markRead(row) {
    try {
      const { data } = await this.#api.call("PUT", `${PATH}/${encodeURIComponent(row.id)}/mark-read`);
      this.#put(shape(data));
    } catch (error) {
      if (explain(error)) say(byId("guest-inbox-message"), explain(error), "bad");
    }
    this.#render();
  }

  #put(row) {
    this.#rows.set(row.id, row);
  }

  #render() {
    const rows = [...this.#rows.values()].sort((a, b) => String(b.at).localeCompare(String(a.at))).slice(0, MOST);
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    fillList("guest-list", rows, { key: (row) => row.id, build: (row) => this.#card(row) });
    showUnread("guest-", this.#known ? rows.filter((row) => row.stored && !row.read).length : null);
  }

  #card(row) {
    const mark = ["mark-read", "Mark read", (each) => this.#markRead(each)];
    return notificationCard(row, row.stored && !row.read ? [mark] : []);
  }
}

/** `type` is how it was sent; what it is about is the category. */
const shape = (data) => ({ ...normal(data), type: String(data.category ?? data.type ?? "") });
