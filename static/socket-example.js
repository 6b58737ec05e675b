/** The test page of a Roomcast server: one signed-in user in one tab, everything shown as the server tells it. */

import { Api } from "./example/api.js";
import { ConnectPanel, offerMint } from "./example/connect-panel.js";
import { Connection } from "./example/connection.js";
import { byId, say } from "./example/dom.js";
import { EventLog } from "./example/log.js";
import { Notifications } from "./example/notifications.js";
import { Presence } from "./example/presence.js";
import { Rooms } from "./example/rooms.js";
import { Sending } from "./example/send.js";
import { Typing } from "./example/typing.js";
import { tokenFromFragment } from "./example/token.js";
import { WorkOrders } from "./example/work-orders.js";

function start(io) {
  const api = new Api();
  const connection = new Connection(io);
  new EventLog(connection);
  const rooms = new Rooms(connection, api);
  const presence = new Presence(connection, api);
  const typing = new Typing(connection, rooms, (id) => presence.nameOf(id));
  const panels = [
    rooms,
    presence,
    typing,
    new Notifications(connection, api),
    new Sending(api),
    new WorkOrders(connection, api, rooms),
  ];
  const begin = (token, person) => {
    api.begin(token);
    for (const panel of panels) panel.begin(person);
  };
  const connect = new ConnectPanel(connection, begin);
  offerMint((token) => connect.fill(token));
}

if (globalThis.io) {
  start(globalThis.io);
} else {
  tokenFromFragment();
  say(
    byId("connect-message"),
    "The Socket.IO client did not load from /socket.io/socket.io.js. Reload the page.",
    "bad",
  );
}
