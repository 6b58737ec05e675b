/** HTTP calls to the server, with the token of the session they were made for. */

const TIMEOUT_MS = 15_000;

/** What went wrong, said by an HTTP answer or by an acknowledgement. `code` is the server's. */
export class Failure extends Error {
  constructor({ message, code = "", status = 0, retryAfter = null }) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** "FORBIDDEN: Only an admin may do this. Try again in 3 s." */
  toString() {
    const again = this.retryAfter == null ? "" : ` Try again in ${Math.ceil(this.retryAfter)} s.`;
    return (this.code ? `${this.code}: ` : "") + this.message + again;
  }
}

export class Api {
  #token = "";
  #session = new AbortController();

  /** Calls of the previous session are abandoned: their answers belong to somebody else. */
  begin(token) {
    this.#session.abort(new DOMException("The session has changed", "AbortError"));
    this.#session = new AbortController();
    this.#token = token;
  }

  get(path) {
    return this.call("GET", path);
  }

  /** Returns the decoded answer. Raises Failure, or AbortError when the session has changed meanwhile. */
  async call(method, path, body) {
    if (!this.#token) throw new Failure({ message: "Connect first." });
    const { signal } = this.#session;
    const answer = await send(method, path, { body, token: this.#token, signal });
    signal.throwIfAborted();
    return answer;
  }
}

/** One request without a session. The answer sets cookies only with `cookies`. */
export async function send(method, path, { body, token, signal, cookies = false } = {}) {
  const patience = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const watch = new AbortController();
  for (const source of [patience, signal]) {
    source?.addEventListener("abort", () => watch.abort(source.reason), { once: true, signal: watch.signal });
  }
  try {
    const response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: cookies ? "same-origin" : "omit",
      cache: "no-store",
      signal: watch.signal,
    });
    return await decode(response);
  } catch (error) {
    if (error instanceof Failure || signal?.aborted) throw error;
    if (patience.aborted) throw new Failure({ message: "The server did not answer in time." });
    throw new Failure({ message: "The server cannot be reached." });
  }
}

async function decode(response) {
  const text = await response.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = null;
  }
  if (response.ok) return data;
  const said = data ?? {};
  const details = (Array.isArray(said.errors) ? said.errors : []).map((each) => each?.message ?? each?.msg ?? each);
  const message = said.message ?? said.error ?? response.statusText ?? "The request failed";
  const extra = details.filter((each) => typeof each === "string" && !String(message).includes(each));
  throw new Failure({
    message: [message, ...extra].join(" · "),
    code: said.code || `HTTP ${response.status}`,
    status: response.status,
    retryAfter: said.retryAfter ?? response.headers.get("Retry-After"),
  });
}

/** The sentence to show for a failed action; null when nobody is waiting for it any more. */
export const explain = (error) => (error?.name === "AbortError" ? null : String(error));
