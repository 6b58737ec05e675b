/** The dashboard frontend's service, as its document writes it; what it shows is kept in `shown`. */

import { io } from "socket.io-client";

export class DashboardService {
  socket = null;
  shown = { connected: [], notifications: [], activities: [], statuses: [], stats: [], errors: [] };

  constructor(apiUrl) {
    this.apiUrl = apiUrl;
  }

  connect(userId, token) {
    this.socket = io(`${this.apiUrl}/dashboard`, {
      query: { userId, token },
      transports: ["websocket"],
    });

    this.socket.on("connected", (data) => {
      this.shown.connected.push(data);
    });

    this.socket.on("notification", (notification) => {
      this.showNotification(notification);
    });

    this.socket.on("activity", (activity) => {
      this.shown.activities.push(activity);
    });

    this.socket.on("user_status", (status) => {
      this.shown.statuses.push(status);
    });

    this.socket.on("stats_update", (stats) => {
      this.shown.stats.push(stats);
    });

    this.socket.on("error", (error) => {
      this.shown.errors.push(error);
    });
  }

  subscribe(channels) {
    this.socket?.emit("subscribe", { channels });
  }

  unsubscribe(channels) {
    this.socket?.emit("unsubscribe", { channels });
  }

  disconnect() {
    this.socket?.disconnect();
  }

  showNotification(notification) {
    this.shown.notifications.push([
      notification.title,
      {
        body: notification.body,
        icon: notification.icon || "/logo.png",
        badge: notification.badge,
      },
    ]);
  }
}
