/** A notification as every list of the page shows it. */

import { busy, el, when } from "./dom.js";

/**
 * `row` is {id, title, message, type, priority, read, at, stored, note}; `actions` are [slot, label, action(row)].
 *
 * `note` is one more tag. A row that is not stored has no number and no mark for being unread.
 */
export function notificationCard(row, actions = []) {
  return el(
    "li",
    {
      class: "notification",
      "data-id": row.id,
      "data-read": String(row.read),
      "data-priority": row.priority,
      "data-stored": String(row.stored),
    },
    el(
      "div",
      { class: "notification-body" },
      el(
        "p",
        { class: "notification-title" },
        row.read || !row.stored ? null : el("span", { class: "sr", text: "Unread: " }),
        row.title || "(no title)",
      ),
      row.message ? el("p", { class: "notification-text", text: row.message }) : null,
      el("p", { class: "notification-meta" }, ...meta(row)),
    ),
    actions.length
      ? el("div", { class: "notification-actions" }, ...actions.map((each) => button(row, ...each)))
      : null,
  );
}

function meta({ id, type, priority, note, stored, at }) {
  return [
    el("span", { class: "tag", "data-type": type, text: type || "info" }),
    priority && priority !== "normal" ? el("span", { class: "tag", "data-priority": priority, text: priority }) : null,
    note ? el("span", { class: "tag", text: note }) : null,
    el("time", { datetime: at, text: when(at) }),
    stored ? el("span", { class: "mono", text: `#${id}` }) : null,
  ];
}

function button(row, slot, label, action) {
  return el("button", {
    type: "button",
    class: "small quiet",
    "data-slot": slot,
    "data-testid": slot,
    "aria-label": `${label}: ${row.title}`,
    text: label,
    on: { click: (event) => busy(event.currentTarget, () => action(row)) },
  });
}

/** One shape for rows of every route and every live event; `id` is "" for what is not stored. */
export function normal(data) {
  const text = (value) => (typeof value === "string" || typeof value === "number" ? String(value) : "");
  return {
    id: text(data.id ?? data._id),
    title: text(data.title),
    message: text(data.message ?? data.body),
    type: text(data.notificationType ?? data.type),
    priority: text(data.priority),
    read: Boolean(data.read ?? data.isRead ?? data.is_read ?? data.read_at ?? false),
    at: text(data.createdAt ?? data.created_at ?? data.timestamp),
    stored: true,
  };
}
