/** Hotel guests: a plain WebSocket of `{type, data}`, and the routes that a hotel's own program calls. */

import { explain } from "../api.js";
import { byId, el, onPress, say } from "../dom.js";
import { furnish } from "../furnish.js";
import { PlainConnection } from "../plain-connection.js";
import { TokenField } from "../shared-token.js";
import { Communications } from "./communications.js";
import { GuestInbox } from "./inbox.js";

const PREFIX = "guest-";
const PING_MS = 25_000;

export function guestsTab({ shared }) {
  const link = new PlainConnection("/ws/notifications", "type");
  const carry = (token) => ({ query: { token, guestId: byId("guest-id").value.trim() } });
  const furniture = furnish("guests", {
    prefix: PREFIX,
    link,
    unread: "#guest-inbox",
    guests: true,
    ways: [{ id: "plain", kind: "plain", carry }],
    changed: (person) => (byId("guest-id").value = person?.id ?? ""),
    begin: (person) => {
      inbox.begin();
      communications.begin(person);
    },
  });
  byId("guest-connect-options").append(guestIdField());
  const inbox = new GuestInbox(link, furniture.api);
  const staff = new TokenField(byId("guest-staff-token"));
  const communications = new Communications(() => staff.value);
  shared.join(staff);
  new Pings(link);
  return { ...furniture, link };
}

const guestIdField = () =>
  el(
    "label",
    { class: "field narrow" },
    el("span", { class: "label", text: "Guest id" }),
    el("input", {
      id: "guest-id",
      "data-testid": "guest-id",
      maxlength: 100,
      spellcheck: "false",
      autocomplete: "off",
    }),
  );

/** The client's own pings: `{"type": "ping"}`, answered by `{"type": "pong"}`. One without an answer ends the link. */
class Pings {
  #link;
  #sentAt = 0;
  #timer = 0;

  constructor(link) {
    this.#link = link;
    link.on("pong", () => this.#answered());
    link.watch((state, before) => this.#follow(state, before));
    onPress("guest-ping", () => this.#ping());
    byId("guest-break").addEventListener("click", () => link.breakOff());
  }

  #follow(state, before) {
    for (const id of ["guest-ping", "guest-break"]) byId(id).disabled = state.name !== "connected";
    if (state.name === before.name) return;
    clearInterval(this.#timer);
    this.#sentAt = 0;
    if (state.name === "connected") this.#timer = setInterval(() => this.#beat(), PING_MS);
    else say(byId("guest-ping-result"), "");
  }

  #beat() {
    if (this.#sentAt) this.#link.breakOff();
    else this.#ping();
  }

  #ping() {
    try {
      this.#link.send("ping");
      this.#sentAt = performance.now();
    } catch (error) {
      say(byId("guest-ping-result"), explain(error), "bad");
    }
  }

  #answered() {
    if (!this.#sentAt) return;
    say(byId("guest-ping-result"), `Pong after ${(performance.now() - this.#sentAt).toFixed(1)} ms.`, "good");
    this.#sentAt = 0;
  }
}
