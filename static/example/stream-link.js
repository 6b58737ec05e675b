/** One stream of server-sent events. It goes one way, and the browser reopens it by itself. */

import { frameFrom, Link } from "./link.js";

export class StreamLink extends Link {
  #path;
  #source = null;
  /** Where the stream has got to: the id of the last event that had one. */
  place = "";

  constructor(path) {
    super();
    this.#path = path;
  }

  /** Open it where it was left. The browser can send `Last-Event-ID` only when it reopens a stream itself. */
  open() {
    this.#drop();
    const url = new URL(this.#path, location.href);
    if (this.place) url.searchParams.set("lastEventId", this.place);
    const source = new EventSource(url);
    this.#source = source;
    this.begin("connecting");
    const mine = (listener) => (event) => source === this.#source && listener(event);
    source.addEventListener(
      "open",
      mine(() => this.#opened()),
    );
    source.addEventListener(
      "message",
      mine((event) => this.#heard(event)),
    );
    source.addEventListener(
      "error",
      mine(() => this.#failed(source)),
    );
  }

  close() {
    this.#drop();
    if (this.state.name === "disconnected") return;
    this.report("state", "close", ["closed by this page"]);
    this.begin("disconnected");
  }

  /** Begin afresh the next time. */
  forgetPlace() {
    this.place = "";
  }

  #drop() {
    this.#source?.close();
    this.#source = null;
  }

  #opened() {
    this.report("state", "open", [{ path: this.#path, lastEventId: this.place || null }]);
    this.become("connected", { detail: "", transport: "event stream" });
  }

  #heard({ data, lastEventId }) {
    if (lastEventId) this.place = lastEventId;
    const frame = frameFrom(data);
    if (typeof frame?.type === "string") this.receive(frame.type, "data" in frame ? [frame.data] : []);
    else this.report("in", "(not a known event)", [data]);
  }

  /** Browsers do not say what went wrong; that the stream stays closed means that the answer was no stream. */
  #failed(source) {
    const refused = source.readyState === EventSource.CLOSED;
    const why = refused ? "The server refused the stream: the cookie's token does not do." : "The stream was lost.";
    const detail = this.takeFarewell() || why;
    this.report("state", refused ? "refused" : "lost", [detail]);
    if (refused) this.#drop();
    this.become(refused ? "refused" : "reconnecting", { detail, transport: "" });
  }
}
