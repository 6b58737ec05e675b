/** Work orders: create one, set its status, watch it change in every tab that is in its room. */

import { explain } from "../api.js";
import { busy, byId, el, say, syncList, when, words } from "../dom.js";

const SHOWN = 8;
const STATUSES = ["pending", "assigned", "in_progress", "on_hold", "completed", "cancelled"];

export class WorkOrders {
  #api;
  #rooms;
  #connection;
  #rows = new Map();

  constructor(connection, api, rooms) {
    this.#connection = connection;
    this.#api = api;
    this.#rooms = rooms;
    connection.on("work_order_updated", (data) => this.#updated(data));
    connection.on("work_order_assignment_update", (data) => this.#updated(data));
    connection.watch((state, before) => state.name === "connected" && before.name !== "connected" && this.#load());
    rooms.watch(() => this.#render());
    byId("refresh-orders").addEventListener("click", (event) => busy(event.currentTarget, () => this.#load()));
    byId("order-form").addEventListener("submit", (event) => {
      event.preventDefault();
      busy(byId("wo-create"), () => this.#create());
    });
  }

  begin() {
    this.#rows.clear();
    this.#say("");
    this.#render();
  }

  async #load() {
    await this.#try(async () => {
      const answer = await this.#api.get(`/api/work-orders?limit=${SHOWN}`);
      const rows = (answer?.data ?? []).slice(0, SHOWN);
      const news = new Map(Array.from(this.#rows, ([id, row]) => [id, row.news]));
      this.#rows = new Map(
        rows.map((row) => [String(row.id), { ...shape(row), news: news.get(String(row.id)) ?? "" }]),
      );
    });
  }

  #create() {
    return this.#try(async () => {
      const body = { description: byId("wo-description").value.trim(), priority: byId("wo-priority").value };
      const { data } = await this.#api.call("POST", "/api/work-orders", body);
      this.#put(data, "");
      this.#say(`Created work order ${data.id}.`, "good");
      if (this.#connection.connected) await this.#rooms.join(`work_order_${data.id}`);
    });
  }

  #setStatus(id, status) {
    return this.#try(async () => {
      const { data } = await this.#api.call("PATCH", `/api/work-orders/${encodeURIComponent(id)}`, { status });
      if (data) this.#put(data);
      this.#say(`Work order ${id} is ${words(status).toLowerCase()}.`, "good");
    });
  }

  #watch(id) {
    const room = `work_order_${id}`;
    return this.#try(() => (this.#rooms.has(room) ? this.#rooms.leave(room) : this.#rooms.join(room)));
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      if (explain(error)) this.#say(explain(error), "bad");
    }
    this.#render();
  }

  #updated(data) {
    const id = data?.workOrderId ?? data?.workOrder?.id;
    if (id == null) return;
    if (data.action === "deleted") this.#rows.delete(String(id));
    else this.#put({ ...data.workOrder, id }, `Live: ${words(data.action)}, ${when(data.timestamp ?? new Date())}`);
    this.#render();
  }

  /** New orders come first; at most SHOWN are kept. */
  #put(row, news) {
    const id = String(row.id);
    const old = this.#rows.get(id);
    const entry = { ...old, ...shape(row, old), news: news ?? old?.news ?? "" };
    if (old) this.#rows.set(id, entry);
    else this.#rows = new Map([[id, entry], ...this.#rows].slice(0, SHOWN));
  }

  #say(text, kind) {
    say(byId("orders-message"), text, kind);
  }

  #render() {
    const items = Array.from(this.#rows.values(), (row) => ({
      ...row,
      watched: this.#rooms.has(`work_order_${row.id}`),
    }));
    syncList(byId("work-orders"), items, { key: (row) => row.id, build: (row) => this.#row(row) });
    byId("work-orders").hidden = items.length === 0;
    byId("orders-empty").hidden = items.length > 0;
  }

  #row({ id, description, priority, status, technician, news, watched }) {
    const choices = STATUSES.includes(status) || !status ? STATUSES : [status, ...STATUSES];
    const picker = el(
      "select",
      { "aria-label": `Status of work order ${id}`, "data-slot": "status", "data-testid": `wo-status-${id}` },
      ...choices.map((each) => el("option", { value: each, text: words(each), selected: each === status })),
    );
    const button = (slot, text, action, pressed) =>
      el("button", {
        type: "button",
        class: "small quiet",
        "data-slot": slot,
        "data-testid": `wo-${slot}-${id}`,
        "aria-pressed": pressed,
        "aria-label": `${text} work order ${id}`,
        text,
        on: { click: (event) => busy(event.currentTarget, action) },
      });
    return el(
      "li",
      { class: "order", "data-order": id, "data-status": status },
      el(
        "p",
        { class: "order-title" },
        el("span", { class: "mono", text: `#${id}` }),
        ` ${description || "(no description)"}`,
      ),
      el(
        "p",
        { class: "notification-meta" },
        el("span", { class: "tag strong", "data-testid": `wo-shown-${id}`, text: words(status) || "No status" }),
        priority ? el("span", { class: "tag", "data-priority": priority, text: priority }) : null,
        technician ? el("span", { text: technician }) : null,
        news ? el("span", { text: news }) : null,
      ),
      el(
        "div",
        { class: "order-actions" },
        picker,
        button("set", "Set", () => this.#setStatus(id, picker.value)),
        button("watch", watched ? "Unwatch" : "Watch", () => this.#watch(id)),
      ),
    );
  }
}

function shape(row, old = {}) {
  const text = (value, before) => (value == null ? (before ?? "") : String(value));
  return {
    id: String(row.id),
    description: text(row.description, old.description),
    priority: text(row.priority, old.priority),
    status: text(row.status, old.status),
    technician: text(row.technician_name ?? row.technicianName, old.technician),
  };
}
