/** What the hotel's own program does: send communications, try a guest's sockets, and see who is connected. */

import { explain, send } from "../api.js";
import { byId, el, fillList, onPress, onSubmit, say, setText, suggest, when } from "../dom.js";

const PATH = "/api/communications";
const SINGLE = ["guest", "specific"];

export class Communications {
  #token;

  /** `token()` may be empty: in development these routes are open. */
  constructor(token) {
    this.#token = token;
    onSubmit("guest-send-form", "guest-send", () => this.#create());
    onSubmit("guest-test-form", "guest-test", () => this.#test());
    onPress("guest-stats-refresh", () => this.#stats());
    byId("guest-recipient-type").addEventListener("change", showRecipient);
    showRecipient();
    this.#list([]);
  }

  begin(person) {
    for (const id of ["guest-recipient-id", "guest-test-id"]) suggest(byId(id), person?.id);
  }

  #call(method, path, body) {
    return send(method, path, { body, token: this.#token() });
  }

  async #create() {
    const message = byId("guest-send-result");
    try {
      const { data } = await this.#call("POST", PATH, communication());
      say(message, told(data), data.status === "failed" ? "bad" : "good");
    } catch (error) {
      say(message, explain(error), "bad");
    }
  }

  async #test() {
    const body = { guestId: value("guest-test-id"), message: value("guest-test-text") };
    try {
      const answer = await this.#call("POST", `${PATH}/websocket/test`, body);
      say(byId("guest-test-result"), answer.message, "good");
    } catch (error) {
      say(byId("guest-test-result"), explain(error), "bad");
    }
  }

  async #stats() {
    try {
      const { data } = await this.#call("GET", `${PATH}/websocket/stats`);
      setText(byId("guest-total"), String(data.totalConnections));
      setText(byId("guest-unique"), String(data.uniqueGuests));
      this.#list(data.guests);
      say(byId("guest-stats-message"), "");
    } catch (error) {
      say(byId("guest-stats-message"), explain(error), "bad");
    }
  }

  #list(guests) {
    fillList("guest-connections", guests, { key: ({ guestId }) => guestId, build: connectionRow });
  }
}

const value = (id) => byId(id).value.trim();

function showRecipient() {
  byId("guest-recipient-id-field").hidden = !SINGLE.includes(byId("guest-recipient-type").value);
}

/** Empty fields are left out; the server names those that it misses. */
function communication() {
  const fields = {
    hotel_id: value("guest-hotel"),
    type: value("guest-kind"),
    category: value("guest-category"),
    title: value("guest-title"),
    message: value("guest-text"),
    priority: value("guest-priority"),
    sender_type: "staff",
    recipient_type: value("guest-recipient-type"),
    recipient_id: SINGLE.includes(value("guest-recipient-type")) ? value("guest-recipient-id") : "",
    scheduled_at: moment("guest-scheduled"),
    expires_at: moment("guest-expires"),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, each]) => each !== ""));
}

/** The browser's local time as the server reads it. */
function moment(id) {
  const date = new Date(byId(id).value);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

function told({ id, status, scheduled_at: at }) {
  if (status === "draft") return `Stored as #${id}: a draft until ${when(at)}.`;
  if (status === "failed") return `Stored as #${id}, and sent to nobody: it names no guest.`;
  return `Stored as #${id}: ${status}.`;
}

const connectionRow = ({ guestId, connections }) =>
  el(
    "li",
    { "data-guest": guestId },
    el("span", { class: "dot", "data-status": "online", "aria-hidden": "true" }),
    el("span", { class: "row-name", text: `Guest ${guestId}` }),
    el("span", { class: "row-detail", text: connections === 1 ? "1 connection" : `${connections} connections` }),
  );
