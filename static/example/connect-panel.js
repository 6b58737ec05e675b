/** The token, the connection's buttons and its state. */

import { explain } from "./api.js";
import { busy, byId, el, say, setText, when, words } from "./dom.js";
import { TokenField } from "./shared-token.js";
import { identity } from "./token.js";
import { AUTH } from "./ways.js";

const LIVE = ["connecting", "connected", "reconnecting"];

export class ConnectPanel {
  #prefix;
  #link;
  #begin;
  #ways;
  #changed;
  #used = "";
  #input;
  #field;

  /**
   * `begin(token, person)` is called before each connect, also when the person has changed; `changed(person)` when
   * the field names somebody else. Of several `ways` the user chooses one.
   */
  constructor(prefix, link, { begin, ways = [AUTH], changed = () => {} }) {
    this.#prefix = prefix;
    this.#link = link;
    this.#begin = begin;
    this.#ways = ways;
    this.#changed = changed;
    this.#input = this.#part("token");
    this.#field = new TokenField(this.#input);
    this.#offerWays();
    link.watch((state) => this.#render(state));
    this.#part("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      busy(this.#part("connect"), () => this.#connect());
    });
    this.#part("disconnect").addEventListener("click", () => this.#disconnect());
    this.#part("show-token").addEventListener("click", (event) => this.#toggleToken(event.currentTarget));
    this.#input.addEventListener("input", () => this.#typed());
    this.#render(link.state);
  }

  get token() {
    return this.#field.value;
  }

  fill(token) {
    this.#field.fill(token);
  }

  /** A connection in use keeps its token. */
  suggest(token) {
    if (!LIVE.includes(this.#link.state.name)) this.#field.suggest(token);
  }

  /** Put the keyboard where the next step is. */
  invite() {
    this.#part("connect").focus({ preventScroll: true });
  }

  #part(name) {
    return byId(this.#prefix + name);
  }

  #offerWays() {
    if (this.#ways.length < 2) return;
    this.#part("way").replaceChildren(...this.#ways.map(({ id, label }) => el("option", { value: id, text: label })));
    this.#part("way-field").hidden = false;
    this.#part("way").addEventListener("change", () => this.#render(this.#link.state));
  }

  get #way() {
    return this.#ways.find(({ id }) => id === this.#part("way").value) ?? this.#ways[0];
  }

  #typed() {
    this.#changed(identity(this.token));
    this.#render(this.#link.state);
  }

  async #connect() {
    const token = this.token;
    const message = this.#part("connect-message");
    if (!token) {
      say(message, "Paste a token first.", "bad");
      return this.#input.focus();
    }
    if (this.#part("connect").disabled) return;
    const person = identity(token);
    const way = this.#way;
    try {
      const carried = await way.carry(token);
      this.#used = token + way.id;
      this.#begin(token, person);
      this.#showPerson(person);
      this.#link.open(carried, way.kind);
    } catch (error) {
      say(message, explain(error), "bad");
    }
  }

  #disconnect() {
    this.#link.close();
    this.invite();
  }

  #toggleToken(button) {
    const shown = this.#input.classList.toggle("secret") === false;
    button.setAttribute("aria-pressed", String(shown));
    button.textContent = shown ? "Hide" : "Show";
  }

  #showPerson(person) {
    const name = person ? [person.name, `#${person.id}`].filter(Boolean).join(" ") : "unknown: this is no JWT";
    setText(this.#part("who"), name);
    setText(this.#part("who-role"), person?.role || "–");
    setText(this.#part("who-expires"), when(person?.expiresAt) || "–");
    setText(this.#part("who-short"), person ? person.name || `#${person.id}` : "");
  }

  #render(state) {
    const pill = this.#part("state");
    pill.dataset.state = state.name;
    pill.parentElement.classList.toggle("offline", state.name !== "connected");
    const attempt = state.name === "reconnecting" && state.attempt ? ` · attempt ${state.attempt}` : "";
    setText(pill, words(state.name) + attempt);
    setText(this.#part("transport"), state.transport || "–");
    setText(this.#part("socket-id"), state.socketId || "–");
    this.#renderButtons(LIVE.includes(state.name));
    const message = this.#part("connect-message");
    const text = state.detail || (state.name === "reconnecting" ? "Trying again by itself." : "");
    if (message.textContent !== text) say(message, text, state.name === "connected" ? "" : "bad");
  }

  #renderButtons(live) {
    const [connect, disconnect] = [this.#part("connect"), this.#part("disconnect")];
    const same = this.token + this.#way.id === this.#used;
    if (live && document.activeElement === connect) {
      disconnect.disabled = false;
      disconnect.focus({ preventScroll: true });
    }
    connect.disabled = live && same;
    connect.textContent = live && !same ? "Switch" : "Connect";
    disconnect.disabled = !live;
  }
}
