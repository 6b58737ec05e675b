// What Roomcast is compared with: Socket.IO on Node.js, with the same handlers and nothing else.
// PORT, JWT_SECRET and DEFLATE come from the environment; it listens on 127.0.0.1 only.
import http from "node:http";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const SECRET = process.env.JWT_SECRET;
const MAX_BODY = 1 << 20;
const EVENT = "bench_event";

function verify(token) {
  return jwt.verify(token, SECRET, { algorithms: ["HS256"] });
}

function answer(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY) throw new Error("too large");
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString());
}

async function publish(request, response) {
  try {
    verify((request.headers.authorization ?? "").replace(/^Bearer /, ""));
  } catch {
    return answer(response, 401, { success: false });
  }
  try {
    const { room, event, data } = await bodyOf(request);
    io.to(room).emit(event, data);
    return answer(response, 202, { success: true });
  } catch {
    return answer(response, 400, { success: false });
  }
}

const server = http.createServer((request, response) => {
  if (request.method === "POST" && request.url === "/api/publish") return publish(request, response);
  return answer(response, 404, { success: false });
});

const io = new Server(server, {
  perMessageDeflate: process.env.DEFLATE === "1" ? { threshold: 1024 } : false,
  pingInterval: 30_000,
  pingTimeout: 20_000,
});

io.use((socket, next) => {
  try {
    socket.data.claims = verify(socket.handshake.auth.token);
    next();
  } catch {
    next(new Error("Authentication error"));
  }
});

io.on("connection", (socket) => {
  const { sub, role } = socket.data.claims;
  socket.join([`user_${sub}`, `role_${role}`]);
  socket.on("join_room", (room, ack) => {
    socket.join(room);
    ack({ success: true, room });
  });
  socket.on("heartbeat", (ack) => ack({ success: true }));
  socket.on("burst", (count) => {
    for (let sent = 0; sent < count; sent += 1) socket.emit(EVENT, { n: sent });
  });
  socket.on("fan", (count) => {
    for (const one of io.of("/").sockets.values()) {
      for (let sent = 0; sent < count; sent += 1) one.emit(EVENT, { n: sent });
    }
  });
});

process.on("SIGTERM", () => process.exit(0));
server.listen(Number(process.env.PORT), "127.0.0.1");
