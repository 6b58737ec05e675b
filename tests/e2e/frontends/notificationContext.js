/** The state of `useNotifications` in the hotel guests' frontend, without React. It polls while there is no socket. */

import { websocketService } from "./websocketService.js";

export class NotificationContext {
  notifications = [];

  constructor(api, token, guestId) {
    this.api = api;
    this.token = token;
    this.guestId = guestId;
    websocketService.addListener("notification-context", (message) => {
      if (message.type === "notification") this.addNotification(message.data);
    });
  }

  get unreadCount() {
    return this.notifications.filter((each) => each.status !== "read").length;
  }

  get isConnected() {
    return websocketService.isConnected();
  }

  addNotification(notification) {
    if (this.notifications.some((each) => each.id === notification.id)) return;
    this.notifications = [notification, ...this.notifications];
  }

  async poll() {
    const query = `recipient_id=${this.guestId}&limit=50`;
    const { data } = await this.#fetch("GET", `?${query}`);
    data.toReversed().forEach((each) => this.addNotification(each));
  }

  async markRead(id) {
    const { data } = await this.#fetch("PUT", `/${id}/mark-read`);
    this.notifications = this.notifications.map((each) => (each.id === parseInt(id) ? data : each));
  }

  async #fetch(method, path) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const answer = await fetch(`${this.api}/api/communications${path}`, { method, headers });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
    return answer.json();
  }
}
