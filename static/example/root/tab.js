/** The namespace `/`: what the bookings and the repair-shop frontends use. */

import { Connection } from "../connection.js";
import { furnish } from "../furnish.js";
import { Notifications } from "./notifications.js";
import { Presence } from "./presence.js";
import { Rooms } from "./rooms.js";
import { Sending } from "./send.js";
import { Typing } from "./typing.js";
import { WorkOrders } from "./work-orders.js";

export function rootTab({ io, shared }) {
  const link = new Connection(io);
  const furniture = furnish("root", {
    prefix: "",
    link,
    shared,
    unread: "#inbox",
    begin: (person) => {
      for (const panel of panels) panel.begin(person);
    },
  });
  const { api } = furniture;
  const rooms = new Rooms(link, api);
  const presence = new Presence(link, api);
  const panels = [
    rooms,
    presence,
    new Typing(link, rooms, (id) => presence.nameOf(id)),
    new Notifications(link, api),
    new Sending(api),
    new WorkOrders(link, api, rooms),
  ];
  return { ...furniture, link };
}
