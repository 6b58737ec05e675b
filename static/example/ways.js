/** How a connection is made and where its token travels. `carry` returns what the handshake carries. */

import { send } from "./api.js";

const inAuth = (token) => ({ auth: { token } });
const inQuery = (token) => ({ query: { token } });

/** Raises Failure. */
export async function inCookie(token) {
  await send("POST", "/api/auth/cookie", { token, cookies: true });
  return {};
}

export const dropCookie = () => send("DELETE", "/api/auth/cookie", { cookies: true });

export const AUTH = { id: "auth", label: "Socket.IO · auth", kind: "socketio", carry: inAuth };

/** Those of every namespace that has a plain WebSocket under the same path. */
export const WAYS = [
  AUTH,
  { id: "query", label: "Socket.IO · query", kind: "socketio", carry: inQuery },
  { id: "cookie", label: "Socket.IO · cookie", kind: "socketio", carry: inCookie },
  { id: "plain-query", label: "WebSocket · query", kind: "plain", carry: inQuery },
  { id: "plain-cookie", label: "WebSocket · cookie", kind: "plain", carry: inCookie },
];
