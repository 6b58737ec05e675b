/**
 * The tabs, one per system. The choice stands in the address as `#tab=name`, so that a reload comes back to it.
 *
 * A fragment that names an element opens the tab that the element is in. What else is shown with a tab only has
 * `data-of`.
 */

import { setText, words } from "./dom.js";

export class Tabs {
  #tabs;
  #title = document.title;

  /** `list` holds the tabs; each names its panel by `aria-controls`. */
  constructor(list) {
    this.#tabs = Array.from(list.querySelectorAll("[role=tab]"));
    for (const tab of this.#tabs) tab.addEventListener("click", () => this.#choose(tab));
    list.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Open the tab that the address names, if any. Returns whether it names one. */
  follow() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const named = this.#named(fragment.get("tab"));
    if (named) {
      this.#open(named);
      return true;
    }
    const [id] = fragment.keys();
    const element = id ? document.getElementById(id) : null;
    const panel = element?.closest("[role=tabpanel]");
    const tab = panel && this.#tabs.find((each) => each.getAttribute("aria-controls") === panel.id);
    const hidden = panel?.hidden;
    if (id) this.#choose(tab ?? this.#named(this.current));
    if (hidden) element.scrollIntoView();
    return Boolean(tab);
  }

  /** The name of the open tab. */
  get current() {
    return this.#tabs.find((tab) => tab.getAttribute("aria-selected") === "true").dataset.tab;
  }

  open(name) {
    this.#choose(this.#named(name));
  }

  /** Show at a tab how its connection is. */
  mark(name, state) {
    const tab = this.#named(name);
    tab.dataset.state = state;
    setText(tab.querySelector("[data-slot=state]"), `, ${words(state).toLowerCase()}`);
  }

  #named(name) {
    return this.#tabs.find((tab) => tab.dataset.tab === name);
  }

  #choose(tab) {
    this.#open(tab);
    history.replaceState(history.state, "", `#tab=${tab.dataset.tab}`);
  }

  #open(chosen) {
    for (const tab of this.#tabs) {
      const selected = tab === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
    }
    for (const node of document.querySelectorAll("[data-of]")) node.hidden = node.dataset.of !== chosen.dataset.tab;
    const list = chosen.parentElement;
    list.scrollLeft = chosen.offsetLeft - (list.clientWidth - chosen.offsetWidth) / 2;
    document.title = `${chosen.dataset.title} · ${this.#title}`;
  }

  #move(event) {
    const at = this.#tabs.indexOf(event.target.closest("[role=tab]"));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const tab = this.#tabs.at(to % this.#tabs.length);
    this.#choose(tab);
    tab.focus({ preventScroll: true });
  }
}
