/** The notifications frontend's service, as its document writes it, with the parts that it leaves out. */

import { io } from "socket.io-client";

export class NotificationService {
  socket = null;
  connected = false;
  subscribed = false;
  notificationListeners = [];
  countListeners = [];

  constructor(apiUrl, authService) {
    this.apiUrl = apiUrl;
    this.authService = authService;
  }

  connect() {
    const token = this.authService.getToken();
    if (!token) return;

    this.socket = io(`${this.apiUrl}/notifications`, {
      extraHeaders: {
        Authorization: `Bearer ${token}`,
      },
      transports: ["websocket"],
    });

    this.socket.on("connect", this.handleConnect.bind(this));
    this.socket.on("disconnect", this.handleDisconnect.bind(this));
    this.socket.on("notification", this.handleNotification.bind(this));
    this.socket.on("unread_count", this.handleUnreadCount.bind(this));
  }

  handleConnect() {
    this.connected = true;
    this.socket?.emit("subscribe_notifications", {}, (response) => {
      if (response.success) this.subscribed = true;
    });
  }

  handleDisconnect() {
    this.connected = false;
  }

  handleNotification(notification) {
    this.notificationListeners.forEach((listener) => listener(notification));
  }

  handleUnreadCount({ count }) {
    this.countListeners.forEach((listener) => listener(count));
  }

  onNotification(listener) {
    this.notificationListeners.push(listener);
  }

  onUnreadCountChange(listener) {
    this.countListeners.push(listener);
  }

  disconnect() {
    this.socket?.disconnect();
  }
}
