/** The token, the connection's buttons and its state; development servers also make tokens here. */

import { explain, send } from "./api.js";
import { busy, byId, el, say, setText, when, words } from "./dom.js";
import { clean, identity, tokenFromFragment } from "./token.js";

export class ConnectPanel {
  #connection;
  #begin;
  #used = "";
  #field = byId("token");

  /** `begin(token, person)` is called before each connect, also when the person has changed. */
  constructor(connection, begin) {
    this.#connection = connection;
    this.#begin = begin;
    connection.watch((state) => this.#render(state));
    byId("connect-form").addEventListener("submit", (event) => this.#connect(event));
    byId("disconnect").addEventListener("click", () => this.#disconnect());
    byId("show-token").addEventListener("click", (event) => this.#toggleToken(event.currentTarget));
    this.#field.addEventListener("input", () => this.#render(connection.state));
    addEventListener("hashchange", () => this.#prefill());
    this.#prefill();
    this.#render(connection.state);
  }

  fill(token) {
    this.#field.value = token;
    this.#render(this.#connection.state);
  }

  #prefill() {
    const token = tokenFromFragment();
    if (!token) return;
    this.fill(token);
    byId("connect").focus({ preventScroll: true });
  }

  #connect(event) {
    event.preventDefault();
    const token = clean(this.#field.value);
    if (!token) {
      say(byId("connect-message"), "Paste a token first.", "bad");
      return this.#field.focus();
    }
    if (byId("connect").disabled) return;
    const person = identity(token);
    this.#used = token;
    this.#begin(token, person);
    this.#showPerson(person);
    say(byId("mint-message"), "");
    this.#connection.open(token);
  }

  #disconnect() {
    this.#connection.close();
    byId("connect").focus({ preventScroll: true });
  }

  #toggleToken(button) {
    const shown = this.#field.classList.toggle("secret") === false;
    button.setAttribute("aria-pressed", String(shown));
    button.textContent = shown ? "Hide" : "Show";
  }

  #showPerson(person) {
    const name = person ? [person.name, `#${person.id}`].filter(Boolean).join(" ") : "unknown: this is no JWT";
    setText(byId("who"), name);
    setText(byId("who-role"), person?.role || "–");
    setText(byId("who-expires"), when(person?.expiresAt) || "–");
    setText(byId("who-short"), person ? person.name || `#${person.id}` : "");
  }

  #render(state) {
    const pill = byId("state");
    pill.dataset.state = state.name;
    const attempt = state.name === "reconnecting" && state.attempt ? ` · attempt ${state.attempt}` : "";
    setText(pill, words(state.name) + attempt);
    setText(byId("transport"), state.transport || "–");
    setText(byId("socket-id"), state.socketId || "–");
    const live = ["connecting", "connected", "reconnecting"].includes(state.name);
    const same = clean(this.#field.value) === this.#used;
    if (live && document.activeElement === byId("connect")) {
      byId("disconnect").disabled = false;
      byId("disconnect").focus({ preventScroll: true });
    }
    byId("connect").disabled = live && same;
    byId("connect").textContent = live && !same ? "Switch" : "Connect";
    byId("disconnect").disabled = !live;
    const message = byId("connect-message");
    const text = state.detail || (state.name === "reconnecting" ? "Trying again by itself." : "");
    if (message.textContent !== text) say(message, text, state.name === "connected" ? "" : "bad");
  }
}

/** The mint is there only when the server says that it runs in development mode. */
export async function offerMint(onToken) {
  const form = byId("mint-form");
  let info;
  try {
    info = await send("GET", "/api/dev/info");
  } catch {
    return;
  }
  if (!info?.dev) return;
  byId("mint-role").replaceChildren(
    ...(info.roles ?? ["user"]).map((role) => el("option", { value: role, text: words(role) })),
  );
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(byId("mint"), () => mint(onToken));
  });
}

async function mint(onToken) {
  const wish = {
    userId: byId("mint-user-id").value.trim(),
    role: byId("mint-role").value,
    name: byId("mint-name").value.trim(),
  };
  try {
    const made = await send("POST", "/api/dev/token", { body: wish });
    onToken(made.token);
    say(
      byId("mint-message"),
      `Token for ${made.name || made.userId} (${made.role}) is filled in. Now connect.`,
      "good",
    );
  } catch (error) {
    say(byId("mint-message"), explain(error), "bad");
  }
}
