/** The namespace `/ws` and its plain twin: chat between two people. */

import { furnish } from "../furnish.js";
import { TwinLink } from "../twin-link.js";
import { WAYS } from "../ways.js";
import { Conversation } from "./conversation.js";
import { ConversationList } from "./conversations.js";
import { Correspondents } from "./correspondents.js";

export function messagingTab({ io, shared }) {
  const link = new TwinLink(io, "/ws");
  const furniture = furnish("messaging", {
    prefix: "chat-",
    link,
    shared,
    ways: WAYS,
    unread: "#chat-conversations-card",
    begin: (person) => {
      for (const part of [people, list, conversation]) part.begin(person);
    },
  });
  const open = (id) => conversation.open(id);
  const people = new Correspondents(link, furniture.api, open);
  const list = new ConversationList(link, furniture.api, { names: people, open });
  const conversation = new Conversation(link, furniture.api, { names: people, changed: () => list.soon() });
  return { ...furniture, link };
}
