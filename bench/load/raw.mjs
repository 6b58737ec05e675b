// Readers for the floor: bare TCP connections that decode what they get as a WebSocket client would, so that the
// sender's side of the kernel sees readers that are as busy as those of a real server.
import net from "node:net";
import { Receiver } from "ws";

export class Readers {
  constructor(onFrame) {
    this.sockets = [];
    this.onFrame = onFrame;
  }

  get closed() {
    return this.sockets.filter((socket) => socket.destroyed).length;
  }

  async open({ host, port }) {
    const socket = net.connect({ host, port, noDelay: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const receiver = new Receiver({ isServer: false });
    receiver.on("message", (data) => this.onFrame(JSON.parse(data.toString().slice(2))));
    socket.on("data", (chunk) => receiver.write(chunk)).on("error", () => {});
    this.sockets.push(socket);
  }

  close() {
    for (const socket of this.sockets.splice(0)) socket.destroy();
  }
}

// One unmasked text frame (RFC 6455, 5.2), as a server sends it.
function frame(text) {
  const payload = Buffer.from(text);
  const size = payload.length;
  if (size < 126) return Buffer.concat([Buffer.from([0x81, size]), payload]);
  const head = Buffer.alloc(size < 1 << 16 ? 4 : 10);
  head[0] = 0x81;
  if (size < 1 << 16) {
    head[1] = 126;
    head.writeUInt16BE(size, 2);
  } else {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(size), 2);
  }
  return Buffer.concat([head, payload]);
}

// Tells the floor what to send to all others: the frame that a Socket.IO server would send for the event.
export class FloorPublisher {
  constructor({ host, port }) {
    this.socket = net.connect({ host, port, noDelay: true });
  }

  publish(event, data) {
    const whole = frame(`42${JSON.stringify([event, data])}`);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(whole.length);
    this.socket.write(Buffer.concat([head, whole]));
  }

  close() {
    this.socket.destroy();
  }
}
