/** The bell in the header, one for each tab that counts what is unread. */

import { byId, setText } from "./dom.js";

/** The number in the bell; null while it is not known. */
export function showUnread(prefix, count) {
  const badge = byId(`${prefix}badge`);
  setText(badge, count === null ? "–" : String(count));
  badge.dataset.unread = String(count > 0);
  const spoken = count === 1 ? "1 unread" : `${count} unread`;
  setText(byId(`${prefix}badge-spoken`), count === null ? "unread count not known yet" : spoken);
}
