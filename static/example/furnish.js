/** What every tab has: its state in the header, the card that connects, and a log of its traffic. */

import { Api } from "./api.js";
import { showUnread } from "./badge.js";
import { ConnectPanel } from "./connect-panel.js";
import { byId, setText, stamp } from "./dom.js";
import { EventLog } from "./log.js";
import { Mint } from "./mint.js";

/**
 * Furnish a tab whose names begin with `prefix`; `unread` is the address of what its bell counts, if it counts.
 *
 * `begin(person, token)` is called before each connect, when the HTTP session is that person's. Other options are
 * those of ConnectPanel.
 */
export function furnish(tab, { prefix, link, shared, unread = "", guests = false, begin, ...options }) {
  const host = document.querySelector(`.now[data-of="${tab}"]`);
  stamp("now-template", host, prefix);
  stamp("connect-template", byId(`${prefix}connection`), prefix);
  stamp("log-template", byId(`${prefix}log-card`), prefix);
  setText(byId(`${prefix}connection-hint`), byId(`${prefix}connection`).dataset.hint);
  if (unread) byId(`${prefix}bell`).href = unread;
  else byId(`${prefix}bell`).remove();

  const api = new Api();
  const log = new EventLog(prefix);
  log.follow(link);
  const connect = new ConnectPanel(prefix, link, {
    ...options,
    begin: (token, person) => {
      api.begin(token);
      mint.clear();
      shared?.offer(token);
      begin(person, token);
    },
  });
  shared?.join(connect);
  const mint = new Mint(prefix, {
    guests,
    onToken: (token) => {
      connect.fill(token);
      shared?.offer(token);
    },
  });
  if (unread) showUnread(prefix, null);
  return { api, log, connect, mint };
}
