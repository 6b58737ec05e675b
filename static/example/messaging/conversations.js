/** The list of one's conversations, from the route; each message and each receipt brings it up to date. */

import { explain } from "../api.js";
import { showUnread } from "../badge.js";
import { byId, el, fillList, onPress, say, when } from "../dom.js";

const SHOWN = 20;
const SETTLE_MS = 200;
const NEWS = ["message:new", "message:sent", "message:delivered", "message:read"];

export class ConversationList {
  #link;
  #api;
  #names;
  #open;
  #rows = [];
  #timer = 0;

  constructor(link, api, { names, open }) {
    this.#link = link;
    this.#api = api;
    this.#names = names;
    this.#open = open;
    for (const event of NEWS) link.on(event, () => this.soon());
    link.watch((state, before) => state.name === "connected" && before.name !== "connected" && this.#load());
    onPress("chat-conversations-refresh", () => this.#load());
    this.#render();
  }

  begin() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#rows = [];
    showUnread("chat-", null);
    this.#render();
  }

  /** Fetch once things have settled; a burst of events makes one request. */
  soon() {
    if (this.#timer || !this.#link.connected) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#load();
    }, SETTLE_MS);
  }

  async #load() {
    const message = byId("chat-conversations-message");
    try {
      const answer = await this.#api.get(`/api/conversations?limit=${SHOWN}`);
      this.#rows = (answer?.conversations ?? []).map(shape);
      for (const { user } of answer?.conversations ?? []) this.#names.learn(user);
      if (Number.isInteger(answer?.unreadCount)) showUnread("chat-", answer.unreadCount);
      say(message, answer?.total > SHOWN ? `${SHOWN} of ${answer.total} shown` : "");
    } catch (error) {
      if (explain(error)) say(message, explain(error), "bad");
    }
    this.#render();
  }

  #render() {
    fillList("chat-conversations", this.#rows, { key: ({ id }) => id, build: (row) => this.#row(row) });
  }

  #row({ id, text, at, unread }) {
    const name = this.#names.nameOf(id);
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "conversation",
          "data-slot": "conversation",
          "data-testid": `conversation-${id}`,
          on: { click: () => this.#open(id) },
        },
        el("span", { class: "conversation-name", text: name }),
        el("time", { class: "row-detail", datetime: at, text: when(at) }),
        el("span", { class: "conversation-text", text }),
        unread ? el("span", { class: "tag strong", text: `${unread} unread` }) : null,
      ),
    );
  }
}

const shape = ({ id, user, lastMessage, unreadCount, updatedAt }) => ({
  id: String(id),
  name: user?.name ?? "",
  text: String(lastMessage?.content ?? ""),
  at: lastMessage?.createdAt ?? updatedAt ?? "",
  unread: unreadCount ?? 0,
});
