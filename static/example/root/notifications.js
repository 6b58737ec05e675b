/**
 * The inbox: a list, and a badge whose number only ever comes from the server.
 *
 * Live notifications are put on top at once. Every change of the count also fetches the list again, so that what one
 * tab reads or deletes is read or gone in the others.
 */

import { explain } from "../api.js";
import { showUnread } from "../badge.js";
import { byId, onPress, say, setText, syncList } from "../dom.js";
import { normal, notificationCard } from "../notification-card.js";

const PAGE = 20;
const MOST = 100;
const SETTLE_MS = 250;
const TEST_MESSAGES = 5;

export class Notifications {
  #connection;
  #api;
  #rows = [];
  #live = new Map();
  #gone = new Set();
  #tests = [];
  #total = 0;
  #limit = PAGE;
  #clock = 0;
  #countedAt = 0;
  #timer = 0;
  #loading = false;
  #again = false;
  #testNumber = 0;
  #known = false;

  constructor(connection, api) {
    this.#connection = connection;
    this.#api = api;
    connection.on("newNotification", (data) => this.#arrived(data));
    connection.on("notification_received", (data) => this.#arrived(data?.notification));
    connection.on("notification_count_updated", (data) => this.#counted(data));
    connection.onTraffic((direction, name) => direction === "in" && /^notification[:_]/.test(name) && this.#soon());
    connection.watch((state, before) => this.#follow(state, before));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#soon());
    this.#buttons();
    this.#render();
    showUnread("", null);
  }

  begin() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#rows = [];
    this.#live.clear();
    this.#gone.clear();
    this.#tests = [];
    this.#total = 0;
    this.#limit = PAGE;
    this.#known = false;
    this.#again = false;
    this.#loading = false;
    say(byId("notifications-message"), "");
    this.#render();
    showUnread("", null);
  }

  #buttons() {
    onPress("mark-all-read", () => this.#markAll());
    onPress("refresh-notifications", () => this.#load());
    onPress("more-notifications", async () => {
      this.#limit = Math.min(this.#limit + PAGE, MOST);
      await this.#load();
    });
  }

  #follow(state, before) {
    if (state.name === "connected" && before.name !== "connected") this.#load();
    else if (state.name !== before.name) this.#render();
  }

  #counted(data) {
    const count = data?.count ?? data?.unreadCount;
    if (!Number.isInteger(count)) return;
    this.#countedAt = ++this.#clock;
    showUnread("", count);
  }

  #arrived(data) {
    if (data === null || typeof data !== "object") return;
    const row = normal(data);
    if (row.id === "") {
      this.#tests = [test(row, ++this.#testNumber), ...this.#tests].slice(0, TEST_MESSAGES);
      return this.#render();
    }
    const at = this.#rows.findIndex((each) => each.id === row.id);
    if (at >= 0) this.#rows[at] = { ...this.#rows[at], ...filled(row) };
    else this.#rows.unshift(row);
    this.#live.set(row.id, ++this.#clock);
    this.#gone.delete(row.id);
    this.#render();
    this.#soon();
  }

  /** Fetch once things have settled; a burst of events makes one request. */
  #soon() {
    if (this.#timer || !(this.#known || this.#connection.connected)) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#load();
    }, SETTLE_MS);
  }

  async #load() {
    if (this.#loading) return void (this.#again = true);
    this.#loading = true;
    const asked = ++this.#clock;
    try {
      const answer = await this.#api.get(`/api/notifications?limit=${this.#limit}`);
      this.#take(answer, asked);
    } catch (error) {
      if (!explain(error)) return;
      say(byId("notifications-message"), explain(error), "bad");
    }
    this.#loading = false;
    if (!this.#again) return;
    this.#again = false;
    this.#soon();
  }

  #take(answer, asked) {
    const rows = (answer?.notifications ?? []).map(normal).filter((row) => !this.#gone.has(row.id));
    const listed = new Set(rows.map((row) => row.id));
    const newer = this.#rows.filter((row) => !listed.has(row.id) && (this.#live.get(row.id) ?? 0) > asked);
    this.#rows = [...newer, ...rows];
    this.#total = answer?.total ?? this.#rows.length;
    this.#known = true;
    say(byId("notifications-message"), this.#rows.length ? `${this.#rows.length} of ${this.#total} shown` : "");
    for (const [id, at] of this.#live) if (at <= asked) this.#live.delete(id);
    if (this.#countedAt < asked && Number.isInteger(answer?.unreadCount)) showUnread("", answer.unreadCount);
    this.#render();
  }

  /** One change on the server; the list and the count that follow are the server's. */
  async #change(method, address, { after = () => {}, body } = {}) {
    try {
      const answer = await this.#api.call(method, address, body);
      after(answer);
      this.#render();
      await this.#load();
    } catch (error) {
      if (explain(error)) say(byId("notifications-message"), explain(error), "bad");
    }
  }

  /** Only up to the newest one shown: what arrives meanwhile stays unread. */
  #markAll() {
    const newest = Number(this.#rows[0]?.id);
    const body = Number.isSafeInteger(newest) && newest > 0 ? { upTo: newest } : {};
    return this.#change("POST", "/api/notifications/mark-all-read", { body });
  }

  #mark(row) {
    const read = !row.read;
    const after = () => {
      this.#rows = this.#rows.map((each) => (each.id === row.id ? { ...each, read } : each));
    };
    return this.#change("PATCH", `${path(row)}/${read ? "read" : "unread"}`, { after });
  }

  #remove(row) {
    if (!row.stored) {
      this.#tests = this.#tests.filter((each) => each.id !== row.id);
      return this.#render();
    }
    const after = () => {
      this.#gone.add(row.id);
      this.#rows = this.#rows.filter((each) => each.id !== row.id);
    };
    return this.#change("DELETE", path(row), { after });
  }

  #render() {
    const items = this.#ordered();
    syncList(byId("notifications"), items, { key: (row) => row.id, build: (row) => this.#card(row) });
    byId("notifications").hidden = items.length === 0;
    byId("notifications-empty").hidden = items.length > 0;
    setText(
      byId("notifications-empty"),
      this.#known ? NOTHING : "Connect to see your notifications. New ones appear here by themselves.",
    );
    byId("more-notifications").hidden = this.#total <= this.#rows.length || this.#limit >= MOST;
  }

  /** The server's order, with the test messages between by their time. */
  #ordered() {
    const items = [...this.#rows];
    for (const test of [...this.#tests].reverse()) {
      const at = items.findIndex((row) => String(row.at) <= String(test.at));
      items.splice(at < 0 ? items.length : at, 0, test);
    }
    return items;
  }

  #card(row) {
    const mark = ["toggle-read", row.read ? "Mark unread" : "Mark read", (each) => this.#mark(each)];
    const remove = ["delete", row.stored ? "Delete" : "Dismiss", (each) => this.#remove(each)];
    return notificationCard(row, row.stored ? [mark, remove] : [remove]);
  }
}

const test = (row, number) => ({ ...row, id: `test-${number}`, stored: false, note: "test, not stored" });

const path = (row) => `/api/notifications/${encodeURIComponent(row.id)}`;

const NOTHING = "Nothing here. Send yourself a notification below, or let another tab send you one.";

/** Only what is said: the second of two live events must not blank what the first one knew. */
const filled = (row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== ""));
