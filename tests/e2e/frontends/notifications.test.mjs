/**
 * The test that the notifications frontend's document shows, in Node's own test runner: it connects to API_URL with
 * TOKEN, and creates the notification with SENDER_TOKEN where the document calls the backend's service.
 */

import assert from "node:assert";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import * as io from "socket.io-client";

const { API_URL, TOKEN: token, SENDER_TOKEN, USER_ID } = process.env;
const testUser = { id: USER_ID };

const expect = (value) => ({ toBe: (wanted) => assert.strictEqual(value, wanted) });

const notificationService = {
  createNotification: (notification) =>
    fetch(`${API_URL}/api/notifications`, {
      method: "POST",
      headers: { Authorization: `Bearer ${SENDER_TOKEN}`, "Content-Type": "application/json" },
      body: JSON.stringify(notification),
    }),
};

describe("Notification WebSockets", () => {
  let socket;

  before(async () => {
    // Connect to WebSocket server
    socket = io.connect(`${API_URL}/notifications`, {
      extraHeaders: {
        Authorization: `Bearer ${token}`,
      },
    });
    await once(socket, "connect");
  });

  after(() => {
    socket.disconnect();
  });

  it("should receive notification when created", { timeout: 10_000 }, (_, done) => {
    socket.on("notification", (event) => {
      expect(event.data.title).toBe("Test Notification");
      done();
    });

    // Create notification
    notificationService.createNotification({
      userId: testUser.id,
      title: "Test Notification",
      message: "Test message",
    });
  });
});
