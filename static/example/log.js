/** The event log: what came in and what went out, newest first. */

import { byId, el, setText } from "./dom.js";
import { mask, maskedJson } from "./token.js";

const KEPT = 300;
const PREVIEW = 140;
const LONGEST = 20_000;
const LABELS = { in: "in", out: "out", ack: "ack", state: "state" };
const NOTHING_YET = "Every event in and out is listed here, newest first. Tokens are masked.";

export class EventLog {
  #prefix;
  #entries = [];
  #waiting = [];
  #paused = false;
  #scheduled = false;
  #box;
  #filter;

  constructor(prefix) {
    this.#prefix = prefix;
    this.#box = this.#part("log");
    this.#filter = this.#part("log-filter");
    this.#filter.addEventListener("input", () => this.#applyFilter());
    this.#part("log-clear").addEventListener("click", () => this.#clear());
    this.#part("log-pause").addEventListener("click", () => this.#togglePause());
    this.#count();
  }

  /** List a link's traffic; `source` names it where there is more than one. */
  follow(link, source = "") {
    link.onTraffic((direction, name, args) => this.#add(direction, name, args, source));
  }

  #part(name) {
    return byId(this.#prefix + name);
  }

  #add(direction, name, args, source) {
    const value = args.length === 1 ? args[0] : args;
    const json = args.length ? shorten(maskedJson(value, 2), LONGEST) : "";
    const label = mask(name);
    this.#waiting.push({ at: new Date(), direction, name: label, source, json, bad: isBad(name, value) });
    if (this.#waiting.length > KEPT) this.#waiting.shift();
    if (this.#paused) return this.#count();
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#scheduled = false;
    if (this.#paused) return this.#count();
    const fresh = this.#waiting.splice(0).map((entry) => ({ ...entry, node: row(entry) }));
    this.#entries = [...fresh.reverse(), ...this.#entries];
    for (const gone of this.#entries.splice(KEPT)) gone.node.remove();
    this.#box.prepend(...fresh.map((entry) => entry.node));
    this.#applyFilter();
  }

  #applyFilter() {
    const wanted = this.#filter.value.trim().toLowerCase();
    for (const { node, name, source, json } of this.#entries) {
      node.hidden = wanted !== "" && ![name, source, json].some((text) => text.toLowerCase().includes(wanted));
    }
    this.#count();
  }

  #count() {
    const shown = this.#entries.filter((entry) => !entry.node.hidden).length;
    const all = this.#entries.length;
    const waiting = this.#paused && this.#waiting.length ? ` + ${this.#waiting.length} held back` : "";
    setText(this.#part("log-count"), (shown === all ? `${all}` : `${shown} of ${all}`) + waiting);
    this.#box.hidden = shown === 0;
    const empty = this.#part("log-empty");
    empty.hidden = shown > 0;
    setText(empty, all ? "Nothing matches this filter." : NOTHING_YET);
  }

  #clear() {
    this.#entries = [];
    this.#waiting = [];
    this.#box.replaceChildren();
    this.#count();
  }

  #togglePause() {
    this.#paused = !this.#paused;
    const button = this.#part("log-pause");
    button.setAttribute("aria-pressed", String(this.#paused));
    button.textContent = this.#paused ? "Resume" : "Pause";
    if (!this.#paused) this.#flush();
    else this.#count();
  }
}

const BAD = ["error", "connect_error", "token_expired", "refused"];
const isBad = (name, value) => BAD.includes(name.toLowerCase()) || value?.success === false;

function row({ at, direction, name, source, json, bad }) {
  const body = el("pre", { class: "log-json", tabindex: 0 });
  const flat = json.replace(/\s+/g, " ");
  const node = el(
    "details",
    { class: "log-row", "data-direction": direction, "data-event": name, "data-source": source, "data-bad": bad },
    el(
      "summary",
      {},
      el("span", { class: "log-direction", text: LABELS[direction] }),
      el("span", { class: "log-name" }, name, source ? el("span", { class: "log-source", text: ` ${source}` }) : null),
      el("time", { class: "log-time", datetime: at.toISOString(), text: clock(at) }),
      el("span", { class: "log-preview", text: shorten(flat, PREVIEW) || "no data" }),
    ),
    body,
  );
  node.addEventListener("toggle", () => (body.textContent = node.open ? json || "no data" : ""));
  return node;
}

const shorten = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

const clock = (at) =>
  [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":") +
  `.${String(at.getMilliseconds()).padStart(3, "0")}`;
