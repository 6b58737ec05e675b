// The load: real socket.io-client clients, driven by bench/driver.py over stdin and stdout, one JSON value a line.
// Each command is answered with one line: {ok: true, ...figures} or {ok: false, error}.
// It talks to 127.0.0.1 only, and every command ends within its own number of seconds.
import http from "node:http";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";
import { FloorPublisher, Readers } from "./raw.mjs";

const EVENT = "bench_event";
const CONNECTING_AT_ONCE = 50;
const ASKING_AT_ONCE = 100;
const PUBLISHES_AHEAD = 4;
const WORDS = "work order ticket pending assigned technician brake disc invoice customer street ready part".split(" ");

const clients = [];
const readers = new Readers(([, data]) => delivered(data));
let deliveries = 0;
let worstDelay = 0;
let onDelivery = () => {};

const seconds = (since) => (performance.now() - since) / 1000;
const receivers = () => clients.length + readers.sockets.length;

function delivered(data) {
  deliveries += 1;
  if (data.at !== undefined) worstDelay = Math.max(worstDelay, performance.now() - data.at);
  onDelivery();
}

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

function request(socket, event, ...args) {
  return new Promise((resolve) => socket.emit(event, ...args, resolve));
}

async function connectOne(url, token, room, deflate) {
  const socket = io(url, {
    auth: { token },
    transports: ["websocket"],
    forceNew: true,
    reconnection: false,
    perMessageDeflate: deflate ? { threshold: 1024 } : false,
  });
  clients.push(socket);
  socket.on(EVENT, delivered);
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", (error) => reject(new Error(`connect refused: ${error.message}`)));
  });
  if (!room) return;
  const answer = await request(socket, "join_room", room);
  if (!answer?.success) throw new Error(`join_room refused: ${JSON.stringify(answer)}`);
}

const deflating = (socket) => socket.io.engine.transport.ws.extensions.includes("permessage-deflate");

async function connect({ url, tokens, room, deflate = false }) {
  const started = performance.now();
  await pooled(tokens, CONNECTING_AT_ONCE, (token) => connectOne(url, token, room, deflate));
  return { seconds: seconds(started), connected: clients.length, deflating: clients.filter(deflating).length };
}

async function read({ host, port, count }) {
  const started = performance.now();
  await pooled(Array(count).fill({ host, port }), CONNECTING_AT_ONCE, (address) => readers.open(address));
  return { seconds: seconds(started), connected: count };
}

// Something to compress: words in an order that does not repeat soon.
function text(length) {
  let state = 1;
  let made = "";
  while (made.length < length) {
    state = (state * 1103515245 + 12345) % 2147483648;
    made += `${WORDS[state % WORDS.length]} ${state % 1000} `;
  }
  return made.slice(0, length);
}

function post(url, token, body) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const outgoing = http.request(`${url}/api/publish`, { method: "POST", headers }, (response) => {
      response.resume();
      response.on("end", () =>
        response.statusCode === 202 ? resolve() : reject(new Error(`publish answered ${response.statusCode}`)),
      );
    });
    outgoing.on("error", reject);
    outgoing.end(JSON.stringify(body));
  });
}

// Publishes run only a little ahead of the deliveries, so that the server writes to sockets and not to memory.
async function pace(messages, publish) {
  const total = messages * receivers();
  deliveries = 0;
  worstDelay = 0;
  const started = performance.now();
  await new Promise((resolve, reject) => {
    let published = 0;
    onDelivery = () => {
      while (published < messages && (published - PUBLISHES_AHEAD) * receivers() < deliveries) {
        published += 1;
        publish().catch(reject);
      }
      if (deliveries >= total) resolve();
    };
    onDelivery();
  }).finally(() => (onDelivery = () => {}));
  return { seconds: seconds(started), deliveries, worst_delay_ms: worstDelay };
}

function broadcast({ url, token, room, messages, payload, timed = false }) {
  const words = text(payload);
  return pace(messages, () => {
    const data = timed ? { text: words, at: performance.now() } : { text: words };
    return post(url, token, { room, event: EVENT, data });
  });
}

async function floor({ host, port, messages, payload }) {
  const words = text(payload);
  const publisher = new FloorPublisher({ host, port });
  try {
    return await pace(messages, async () => publisher.publish(EVENT, { text: words }));
  } finally {
    publisher.close();
  }
}

async function heartbeat({ each }) {
  const started = performance.now();
  await pooled(clients, ASKING_AT_ONCE, async (socket) => {
    for (let sent = 0; sent < each; sent += 1) await request(socket, "heartbeat");
  });
  return { seconds: seconds(started), acks: each * clients.length };
}

function answered(socket, count) {
  return new Promise((resolve) => {
    let left = count;
    const got = () => {
      left -= 1;
      if (left > 0) return;
      socket.off(EVENT, got);
      resolve();
    };
    socket.on(EVENT, got);
  });
}

// Every client asks, `each` times, for `count` events that the server emits in one go.
async function burst({ each, count }) {
  await pooled(clients, ASKING_AT_ONCE, async (socket) => {
    for (let sent = 0; sent < each; sent += 1) {
      const whole = answered(socket, count);
      socket.emit("burst", count);
      await whole;
    }
  });
  return { turns: each * clients.length };
}

// One client asks, `each` times, for `count` events to every client, that the server emits in one go.
async function fan({ each, count }) {
  for (let sent = 0; sent < each; sent += 1) {
    const everybody = Promise.all(clients.map((socket) => answered(socket, count)));
    clients[0].emit("fan", count);
    await everybody;
  }
  return { turns: each * clients.length };
}

// The longest time that an acknowledgement took while one was asked for every `interval` milliseconds.
async function probe({ seconds: length, interval }) {
  const until = performance.now() + length * 1000;
  const spent = [];
  while (performance.now() < until) {
    const sent = performance.now();
    await request(clients[0], "heartbeat");
    spent.push(performance.now() - sent);
    await sleep(Math.max(0, interval - spent.at(-1)));
  }
  spent.sort((a, b) => a - b);
  return { worst_ms: spent.at(-1), median_ms: spent[spent.length >> 1], probes: spent.length };
}

async function disconnect() {
  const started = performance.now();
  readers.close();
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

// All at once and without a word, as when a network fails.
async function drop() {
  const started = performance.now();
  const closing = clients.splice(0);
  for (const socket of closing) socket.io.engine.transport.ws.terminate();
  return { seconds: seconds(started), disconnected: closing.length };
}

const keptAlive = new http.Agent({ keepAlive: true, maxSockets: 256 });

// One request; its answer's JSON, and the milliseconds until all of it was here.
function call(method, url, token, body) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const outgoing = http.request(url, { method, headers, agent: keptAlive }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("end", () => {
        const ms = performance.now() - started;
        if (response.statusCode < 300) resolve({ ms, answer: JSON.parse(text) });
        else reject(new Error(`${method} answered ${response.statusCode}: ${text.slice(0, 200)}`));
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

function spread(values, name) {
  const sorted = values.sort((a, b) => a - b);
  return { [`${name}_median_ms`]: at(sorted, 0.5), [`${name}_p99_ms`]: at(sorted, 0.99), [`${name}_worst_ms`]: sorted.at(-1) };
}

// `posts` notifications to the connected users in turn, `width` requests at a time; done when every one has been heard.
async function notify({ url, token, users, posts, width }) {
  const waiting = new Map();
  const arrived = [];
  const hear = (id) => {
    arrived.push(performance.now() - waiting.get(id));
    waiting.delete(id);
  };
  for (const socket of clients) {
    socket.on("newNotification", (row) => waiting.has(row.title) && hear(row.title));
  }
  const answered = [];
  const started = performance.now();
  const numbers = Array.from({ length: posts }, (_, number) => number);
  await pooled(numbers, width, async (number) => {
    const title = `Part ${number}`;
    waiting.set(title, performance.now());
    const body = { userId: users[number % users.length], type: "parts", title, message: "It is on the shelf." };
    answered.push((await call("POST", `${url}/api/notifications`, token, body)).ms);
  });
  const spent = seconds(started);
  while (waiting.size) await sleep(1);
  for (const socket of clients) socket.off("newNotification");
  return { seconds: spent, posts, ...spread(answered, "answered"), ...spread(arrived, "delivered") };
}

// The same request `times` times, one after the other; the last answer comes along.
async function repeat({ method, url, token, body, times }) {
  const spent = [];
  let answer;
  for (let done = 0; done < times; done += 1) {
    const one = await call(method, url, token, body);
    spent.push(one.ms);
    answer = one.answer;
  }
  return { ...spread(spent, "answered"), answer };
}

const commands = { connect, read, broadcast, floor, heartbeat, burst, fan, probe, disconnect, drop, notify, repeat };
const progress = (name) => `${name} not done (${receivers()} clients, ${deliveries} deliveries)`;

for await (const line of createInterface({ input: process.stdin })) {
  const { command, limit, ...options } = JSON.parse(line);
  let answer;
  try {
    const dropped = clients.filter((socket) => !socket.connected).length + readers.closed;
    if (dropped) throw new Error(`the server dropped ${dropped} clients`);
    answer = { ok: true, ...(await within(limit, () => progress(command), commands[command](options))) };
  } catch (error) {
    answer = { ok: false, error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
