/** The test page of a Roomcast server: a tab for each system, everything shown as the server tells it. */

import { dashboardTab } from "./example/dashboard/tab.js";
import { byId, say } from "./example/dom.js";
import { guestsTab } from "./example/guests/tab.js";
import { messagingTab } from "./example/messaging/tab.js";
import { offerMints } from "./example/mint.js";
import { notificationsTab } from "./example/notifications/tab.js";
import { rootTab } from "./example/root/tab.js";
import { SharedToken } from "./example/shared-token.js";
import { Tabs } from "./example/tabs.js";
import { identity, tokenFromFragment } from "./example/token.js";

const SYSTEMS = {
  root: rootTab,
  notifications: notificationsTab,
  dashboard: dashboardTab,
  messaging: messagingTab,
  guests: guestsTab,
};

function start(io) {
  const tabs = new Tabs(byId("tabs"));
  const shared = new SharedToken();
  const systems = Object.fromEntries(Object.entries(SYSTEMS).map(([name, build]) => [name, build({ io, shared })]));
  for (const [name, { link }] of Object.entries(systems)) {
    tabs.mark(name, link.state.name);
    link.watch((state) => tabs.mark(name, state.name));
  }
  addEventListener("hashchange", () => follow(tabs, shared, systems));
  follow(tabs, shared, systems);
  offerMints(Object.values(systems).map(({ mint }) => mint));
}

/** A link may bring a token, and name the tab to open; a guest's token belongs to the guests' tab. */
function follow(tabs, shared, systems) {
  const token = tokenFromFragment();
  const named = tabs.follow();
  if (!token) return;
  const guest = Boolean(identity(token)?.guest);
  if (!named && guest !== (tabs.current === "guests")) tabs.open(guest ? "guests" : "root");
  const { connect } = systems[tabs.current];
  connect.fill(token);
  connect.invite();
  if (!guest) shared.offer(token);
}

if (globalThis.io) {
  start(globalThis.io);
} else {
  tokenFromFragment();
  say(byId("trouble"), "The Socket.IO client did not load from /socket.io/socket.io.js. Reload the page.", "bad");
  byId("trouble").hidden = false;
}
