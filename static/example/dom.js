/** Small helpers around the DOM. Data enters the page as text only. */

export const byId = (id) => document.getElementById(id);

/** Build an element: el("button", { class: "small", text: "Leave", on: { click } }, ...children). */
export function el(tag, { text, on = {}, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  if (text != null) node.textContent = String(text);
  node.append(...children.filter((child) => child != null));
  return node;
}

const NAMES = ["id", "data-testid", "for", "list", "aria-controls", "aria-labelledby", "aria-describedby"];

/** Put a copy of a template into `host`; every name in it, and every reference to one, gets the prefix. */
export function stamp(template, host, prefix) {
  const copy = byId(template).content.cloneNode(true);
  for (const node of copy.querySelectorAll("*")) {
    for (const name of NAMES) {
      const value = node.getAttribute(name);
      if (value)
        node.setAttribute(
          name,
          value.replace(/\S+/g, (each) => prefix + each),
        );
    }
  }
  host.append(copy);
}

/** Show the outcome of an action next to its field; `kind` is "good", "bad" or "" (neutral). */
export function say(target, text, kind = "") {
  target.textContent = text;
  target.dataset.kind = kind;
}

/** Write only when it changes, so that screen readers do not repeat what they have said. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make `list` show `items`, reusing the nodes of items that did not change, and keep the keyboard's place.
 *
 * A control that has `data-slot` gets its focus back when its row is rebuilt; when the row has gone, the same control
 * of the row now in its place gets it, or the list itself.
 */
export function syncList(list, items, { key, build }) {
  const focus = focusIn(list);
  const old = new Map(Array.from(list.children, (node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const id = String(key(item));
    const signature = JSON.stringify(item);
    const known = old.get(id);
    if (known?.signature === signature) return known;
    const node = build(item);
    node.dataset.key = id;
    node.signature = signature;
    return node;
  });
  const wanted = new Set(nodes);
  for (const node of Array.from(list.children)) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, at) => {
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
  });
  if (focus) restore(list, focus);
}

/** Show items in a list, newest first as they are given, or what stands beside it when there are none. */
export function fillList(id, items, { key, build }) {
  syncList(byId(id), items, { key, build });
  byId(id).hidden = items.length === 0;
  byId(`${id}-empty`).hidden = items.length > 0;
}

function focusIn(list) {
  const active = document.activeElement;
  if (active === list || !list.contains(active)) return null;
  const row = Array.from(list.children).find((node) => node.contains(active));
  return { active, key: row.dataset.key, at: Array.from(list.children).indexOf(row), slot: active.dataset.slot };
}

function restore(list, { active, key, at, slot }) {
  if (document.activeElement === active) return;
  if (active.isConnected) return active.focus({ preventScroll: true });
  const rows = Array.from(list.children);
  const row = rows.find((node) => node.dataset.key === key) ?? rows[Math.min(at, rows.length - 1)];
  const control = row && slot ? row.querySelector(`[data-slot="${slot}"]`) : null;
  (control ?? list).focus({ preventScroll: true });
}

/** Fill a field in with what most people want there, unless they have written something else. */
export function suggest(field, value) {
  if (value == null || (field.value && field.dataset.suggested !== field.value)) return;
  field.value = field.dataset.suggested = String(value);
}

/** Run `action` while its button says that it is busy; a second press meanwhile does nothing. */
export async function busy(button, action) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** Run `action` when the button is pressed, once at a time. */
export const onPress = (id, action) =>
  byId(id).addEventListener("click", (event) => busy(event.currentTarget, () => action(event)));

/** Run `action` when the form is sent; meanwhile `button` is busy. */
export function onSubmit(form, button, action) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    busy(byId(button), action);
  });
}

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** "14:05" today, "3 Mar, 14:05" on other days, "" for what is no date. */
export function when(value) {
  const date = new Date(value);
  if (value == null || Number.isNaN(date.getTime())) return "";
  return (date.toDateString() === new Date().toDateString() ? time : day).format(date);
}

/** "in_progress" -> "In progress". */
export function words(value) {
  const text = String(value ?? "")
    .replaceAll("_", " ")
    .trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
