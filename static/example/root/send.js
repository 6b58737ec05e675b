/** Sending: stored notifications to a user, a role, a room or everyone, and test messages that are only live. */

import { explain } from "../api.js";
import { byId, onPress, onSubmit, say, suggest } from "../dom.js";

const TARGETS = {
  user: { field: "send-user-id", key: "userId", missing: "Write the user's id." },
  role: { field: "send-role", key: "role", missing: "Write a role." },
  room: { field: "send-room", key: "room", missing: "Write a room's name." },
};

export class Sending {
  #api;

  constructor(api) {
    this.#api = api;
    const target = byId("send-target");
    target.addEventListener("change", () => showTarget(target.value));
    showTarget(target.value);
    onSubmit("send-form", "send", () => this.#send());
    onSubmit("test-form", "test-send", () => this.#test());
    onPress("test-broadcast", () => this.#broadcast());
  }

  /** Suggest oneself: the first notification most people send is to themselves. */
  begin(person) {
    for (const id of ["send-user-id", "test-user-id"]) suggest(byId(id), person?.id);
  }

  async #send() {
    const message = byId("send-result");
    const to = recipients(message);
    if (!to) return;
    const content = { type: "send-type", title: "send-title", message: "send-message", priority: "send-priority" };
    const body = Object.fromEntries(Object.entries(content).map(([key, id]) => [key, byId(id).value.trim()]));
    await this.#post("/api/notifications", { ...to, ...body }, message, (answer) => sent(answer?.data ?? answer));
  }

  async #test() {
    const message = byId("test-result");
    const id = byId("test-user-id").value.trim();
    if (!id) {
      say(message, "Write the user's id.", "bad");
      return byId("test-user-id").focus();
    }
    await this.#post(
      `/api/socket-test/send/${encodeURIComponent(id)}`,
      testBody(),
      message,
      (answer) => answer?.message,
    );
  }

  #broadcast() {
    return this.#post("/api/socket-test/broadcast", testBody(), byId("test-result"), (answer) => answer?.message);
  }

  async #post(path, body, message, told) {
    try {
      say(message, told(await this.#api.call("POST", path, body)) || "Sent.", "good");
    } catch (error) {
      say(message, explain(error) ?? "", "bad");
    }
  }
}

function showTarget(chosen) {
  for (const each of document.querySelectorAll("[data-target]")) each.hidden = each.dataset.target !== chosen;
}

function recipients(message) {
  const target = TARGETS[byId("send-target").value];
  if (!target) return { audience: "all" };
  const value = byId(target.field).value.trim();
  if (value) return { [target.key]: value };
  say(message, target.missing, "bad");
  byId(target.field).focus();
  return null;
}

function testBody() {
  const message = byId("test-message").value.trim();
  return message ? { message } : {};
}

const sent = (row) => (row?.id == null ? "Sent." : `Sent as #${row.id}.`);
