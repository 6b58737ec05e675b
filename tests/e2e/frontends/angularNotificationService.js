/** The notifications frontend's Angular service, as its document writes it; a value stands for a BehaviorSubject. */

import { io } from "socket.io-client";

class BehaviorSubject {
  constructor(value) {
    this.value = value;
  }

  next(value) {
    this.value = value;
  }
}

export class AngularNotificationService {
  socket = null;
  notificationsSubject = new BehaviorSubject([]);
  unreadCountSubject = new BehaviorSubject(0);

  constructor(authService, apiUrl = "") {
    this.authService = authService;
    this.apiUrl = apiUrl;
  }

  connect() {
    const token = this.authService.getToken();
    if (!token) return;

    this.socket = io(`${this.apiUrl}/notifications`, {
      extraHeaders: {
        Authorization: `Bearer ${token}`,
      },
    });

    this.socket.on("notification", (event) => {
      const currentNotifications = this.notificationsSubject.value;
      this.notificationsSubject.next([event.data, ...currentNotifications]);
    });

    this.socket.on("unread_count", (event) => {
      this.unreadCountSubject.next(event.data.count);
    });
  }

  disconnect() {
    this.socket?.disconnect();
    this.socket = null;
  }
}
