/** The dashboard frontend's chat, as its document writes it; what it shows is kept in `shown`. */

import { io } from "socket.io-client";

export class MessagingService {
  socket = null;
  shown = { messages: [], typing: [] };

  constructor(apiUrl) {
    this.apiUrl = apiUrl;
  }

  connect(userId, token) {
    this.socket = io(`${this.apiUrl}/ws`, {
      query: { userId, token },
      transports: ["websocket"],
    });

    this.socket.on("MESSAGE_BROADCAST", (message) => {
      this.shown.messages.push(message);
    });

    this.socket.on("TYPING_INDICATOR", (data) => {
      this.shown.typing.push(data);
    });
  }

  sendMessage(receiverId, content) {
    this.socket?.emit("sendMessage", {
      receiverId,
      content,
    });
  }

  startTyping(receiverId) {
    this.socket?.emit("typing", { receiverId, isTyping: true });
  }

  stopTyping(receiverId) {
    this.socket?.emit("typing", { receiverId, isTyping: false });
  }

  markAsRead(messageId) {
    this.socket?.emit("markAsRead", { messageId });
  }
}
