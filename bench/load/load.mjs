// The load: real socket.io-client clients, driven by bench/run.py over stdin and stdout, one JSON value a line.
// Each command is answered with one line: {ok: true, ...figures} or {ok: false, error}.
// It talks to 127.0.0.1 only, and every command ends within its own number of seconds.
import http from "node:http";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const EVENT = "bench_event";
const CONNECTING_AT_ONCE = 50;
const HEARTBEATS_AT_ONCE = 100;
const PUBLISHES_AHEAD = 4;

const clients = [];
const agent = new http.Agent({ keepAlive: true, maxSockets: PUBLISHES_AHEAD });
let deliveries = 0;
let onDelivery = () => {};

const seconds = (since) => (performance.now() - since) / 1000;

function within(limit, what, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what()} after ${limit} s`)), limit * 1000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function pooled(items, width, work) {
  let next = 0;
  const worker = async () => {
    while (next < items.length) await work(items[next++]);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
}

function request(socket, event, data) {
  return new Promise((resolve) => socket.emit(event, ...(data === undefined ? [] : [data]), resolve));
}

async function connectOne(url, token, room) {
  const socket = io(url, { auth: { token }, transports: ["websocket"], forceNew: true, reconnection: false });
  clients.push(socket);
  socket.on(EVENT, () => {
    deliveries += 1;
    onDelivery();
  });
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", (error) => reject(new Error(`connect refused: ${error.message}`)));
  });
  const answer = await request(socket, "join_room", room);
  if (!answer?.success) throw new Error(`join_room refused: ${JSON.stringify(answer)}`);
}

async function connect({ url, tokens, room }) {
  const started = performance.now();
  await pooled(tokens, CONNECTING_AT_ONCE, (token) => connectOne(url, token, room));
  return { seconds: seconds(started), connected: clients.length };
}

function publish({ url, token, body }) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const outgoing = http.request(`${url}/api/publish`, { method: "POST", agent, headers }, (response) => {
      response.resume();
      response.on("end", () =>
        response.statusCode === 202 ? resolve() : reject(new Error(`publish answered ${response.statusCode}`)),
      );
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

// Publishes run only a little ahead of the deliveries, so that the server writes to sockets and not to memory.
async function broadcast({ url, token, room, messages, payload }) {
  const body = JSON.stringify({ room, event: EVENT, data: { text: "x".repeat(payload) } });
  const total = messages * clients.length;
  deliveries = 0;
  const started = performance.now();
  await new Promise((resolve, reject) => {
    let published = 0;
    onDelivery = () => {
      while (published < messages && published * clients.length < deliveries + PUBLISHES_AHEAD * clients.length) {
        published += 1;
        publish({ url, token, body }).catch(reject);
      }
      if (deliveries >= total) resolve();
    };
    onDelivery();
  }).finally(() => (onDelivery = () => {}));
  return { seconds: seconds(started), deliveries };
}

async function heartbeat({ each }) {
  const started = performance.now();
  await pooled(clients, HEARTBEATS_AT_ONCE, async (socket) => {
    for (let sent = 0; sent < each; sent += 1) await request(socket, "heartbeat");
  });
  return { seconds: seconds(started), acks: each * clients.length };
}

async function disconnect() {
  const started = performance.now();
  const closing = clients.splice(0);
  const closed = closing.map((socket) => {
    const engine = socket.io.engine;
    return new Promise((resolve) => {
      if (engine.readyState === "closed") resolve();
      else engine.once("close", resolve);
      socket.disconnect();
    });
  });
  await Promise.all(closed);
  return { seconds: seconds(started), disconnected: closing.length };
}

const commands = { connect, broadcast, heartbeat, disconnect };
const progress = (name) => `${name} not done (${clients.length} clients, ${deliveries} deliveries)`;

for await (const line of createInterface({ input: process.stdin })) {
  const { command, limit, ...options } = JSON.parse(line);
  let answer;
  try {
    const alive = clients.filter((socket) => socket.connected).length;
    if (alive < clients.length) throw new Error(`the server dropped ${clients.length - alive} clients`);
    answer = { ok: true, ...(await within(limit, () => progress(command), commands[command](options))) };
  } catch (error) {
    answer = { ok: false, error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
