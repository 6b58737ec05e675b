/** The namespace `/notifications`: the inbox live, its unread count, and the same as an event stream. */

import { explain } from "../api.js";
import { showUnread } from "../badge.js";
import { byId, fillList, onPress, say } from "../dom.js";
import { furnish } from "../furnish.js";
import { normal, notificationCard } from "../notification-card.js";
import { QuickSend } from "../quick-send.js";
import { TwinLink } from "../twin-link.js";
import { WAYS } from "../ways.js";
import { EventStreamCard } from "./event-stream.js";

const MOST = 100;
const PREFIX = "notify-";

export function notificationsTab({ io, shared }) {
  const link = new TwinLink(io, "/notifications");
  const furniture = furnish("notifications", {
    prefix: PREFIX,
    link,
    shared,
    ways: WAYS,
    unread: "#notify-inbox",
    begin: (person) => {
      inbox.begin();
      quick.begin(person);
    },
  });
  const inbox = new HeardNotifications(link, furniture.api);
  const quick = new QuickSend(PREFIX, furniture.api);
  const stream = new EventStreamCard(() => furniture.connect.token);
  furniture.log.follow(stream.link, "event stream");
  return { ...furniture, link };
}

class HeardNotifications {
  #link;
  #api;
  #rows = [];

  constructor(link, api) {
    this.#link = link;
    this.#api = api;
    link.on("notification", (frame) => this.#heard(frame));
    link.on("unread_count", (frame) => this.#counted(frame?.data?.count ?? frame?.count));
    onPress("notify-subscribe", () => this.#ask("subscribe_notifications", "Subscribed."));
    onPress("notify-unsubscribe", () =>
      this.#ask("unsubscribe_notifications", "Unsubscribed: this connection hears nothing."),
    );
    onPress("notify-mark-all", () => this.#change("POST", "/api/notifications/mark-all-read", () => true));
    this.#render();
  }

  begin() {
    this.#rows = [];
    showUnread(PREFIX, null);
    this.#say("");
    this.#render();
  }

  #heard(frame) {
    if (frame === null || typeof frame !== "object") return;
    const row = normal(frame);
    if (row.id === "") return;
    this.#rows = [row, ...this.#rows.filter((each) => each.id !== row.id)].slice(0, MOST);
    this.#render();
  }

  #counted(count) {
    if (!Number.isInteger(count)) return;
    showUnread(PREFIX, count);
    if (count === 0) this.#read(() => true);
  }

  async #ask(event, done) {
    try {
      const ack = await this.#link.request(event, {});
      this.#say(`${done} Acknowledged with ${JSON.stringify(ack)}.`, "good");
    } catch (error) {
      this.#say(explain(error), "bad");
    }
  }

  async #change(method, path, which) {
    try {
      await this.#api.call(method, path);
      this.#read(which);
    } catch (error) {
      if (explain(error)) this.#say(explain(error), "bad");
    }
  }

  #read(which) {
    this.#rows = this.#rows.map((row) => (which(row) ? { ...row, read: true } : row));
    this.#render();
  }

  #say(text, kind) {
    say(byId("notify-message"), text, kind);
  }

  #render() {
    fillList("notify-list", this.#rows, { key: (row) => row.id, build: (row) => this.#card(row) });
  }

  #card(row) {
    const path = `/api/notifications/${encodeURIComponent(row.id)}/read`;
    const mark = ["mark-read", "Mark read", () => this.#change("PATCH", path, (each) => each.id === row.id)];
    return notificationCard(row, row.read ? [] : [mark]);
  }
}
