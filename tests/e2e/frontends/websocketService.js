/**
 * The hotel guests' socket service, as its document promises it: it connects with a token and a guest id, hands every
 * message to its listeners, and comes back after a lost connection, each time after twice as long.
 */

const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 800;

class WebsocketService {
  baseUrl = "ws://localhost:3000";
  socket = null;
  listeners = new Map();
  connected = false;
  attempts = 0;
  wanted = false;

  connect(token, guestId) {
    this.wanted = true;
    const socket = new WebSocket(`${this.baseUrl}/ws/notifications?token=${token}&guestId=${guestId}`);
    this.socket = socket;

    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === "connection" && message.data.guestId === parseInt(guestId)) {
        this.connected = true;
        this.attempts = 0;
      }
      this.listeners.forEach((callback) => callback(message));
    };

    socket.onclose = () => {
      this.connected = false;
      if (!this.wanted) return;
      const delay = Math.min(FIRST_DELAY_MS * 2 ** this.attempts++, LONGEST_DELAY_MS);
      setTimeout(() => this.wanted && this.connect(token, guestId), delay);
    };
  }

  disconnect() {
    this.wanted = false;
    this.socket?.close();
  }

  addListener(key, callback) {
    this.listeners.set(key, callback);
  }

  removeListener(key) {
    this.listeners.delete(key);
  }

  isConnected() {
    return this.connected;
  }
}

export const websocketService = new WebsocketService();
