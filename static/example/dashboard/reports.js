/** What other backends report to dashboards. These routes need rights; a refusal is shown as the server says it. */

import { explain } from "../api.js";
import { byId, onSubmit, say, suggest } from "../dom.js";

export class Reports {
  #api;

  constructor(api) {
    this.#api = api;
    this.#form("activity", () => this.#activity());
    this.#form("stats", () => this.#stats());
    this.#form("announce", () => this.#announcement());
  }

  begin(person) {
    suggest(byId("dash-activity-user"), person?.id);
    for (const name of ["activity", "stats", "announce"]) say(byId(`dash-${name}-result`), "");
  }

  #form(name, request) {
    onSubmit(`dash-${name}-form`, `dash-${name}`, async () => {
      const message = byId(`dash-${name}-result`);
      const { path, body } = request();
      try {
        say(message, told(await this.#api.call("POST", path, body)), "good");
      } catch (error) {
        say(message, explain(error) ?? "", "bad");
      }
    });
  }

  #activity() {
    const [userId, type, message] = ["user", "type", "text"].map((name) => value(`dash-activity-${name}`));
    return { path: "/api/activity", body: { userId, type, message } };
  }

  #stats() {
    const user = value("dash-stats-user");
    const figures = ["connections", "messages", "posts"].map((name) => [name, Number(value(`dash-stats-${name}`))]);
    return { path: "/api/stats", body: { ...Object.fromEntries(figures), ...(user && { userId: user }) } };
  }

  #announcement() {
    const [title, message, audience] = ["title", "text", "audience"].map((name) => value(`dash-announce-${name}`));
    return { path: "/api/announcements", body: { title, message, ...(audience && { audience }) } };
  }
}

const value = (id) => byId(id).value.trim();

function told(answer) {
  const { id, delivered } = Object(answer?.data);
  if (id != null) return `Stored as #${id} and sent.`;
  return delivered == null ? "Sent." : `Reached ${delivered} ${delivered === 1 ? "connection" : "connections"}.`;
}
