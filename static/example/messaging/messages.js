/** Messages by their ids. What is known of one comes in any order and more than once: answers, events, history. */

const ORDER = ["sending", "failed", "sent", "delivered", "read"];
const FIELDS = ["senderId", "receiverId", "content", "createdAt"];

export class Messages {
  #all = new Map();
  #keys = new Map();

  clear() {
    this.#all.clear();
    this.#keys.clear();
  }

  /** Add a message, or what is new about it. Until the server has given one an id, its sender's `tempId` names it. */
  put(message) {
    const id = message.messageId ?? message.id;
    const names = [id && `id ${id}`, message.tempId && `${message.senderId} ${message.tempId}`].filter(Boolean);
    const key = names.map((name) => this.#keys.get(name)).find(Boolean) ?? names[0];
    for (const name of names) this.#keys.set(name, key);
    const old = this.#all.get(key) ?? { key, status: ORDER[0] };
    const known = FIELDS.filter((name) => message[name] != null).map((name) => [name, String(message[name])]);
    const status = later(old.status, message.status);
    this.#all.set(key, { ...old, ...Object.fromEntries(known), status, ...(id && { id: String(id) }) });
  }

  /** A message never goes back: a receipt may overtake what it is about. */
  advance(id, status) {
    const key = this.#keys.get(`id ${id}`);
    const message = this.#all.get(key);
    if (message) this.#all.set(key, { ...message, status: later(message.status, status) });
  }

  /** The messages of two people, oldest first; those without an id are the newest. */
  between(one, other) {
    const pair = [one, other].sort().join("\n");
    return [...this.#all.values()]
      .filter(({ senderId, receiverId }) => [senderId, receiverId].sort().join("\n") === pair)
      .sort((a, b) => Number(a.id ?? Infinity) - Number(b.id ?? Infinity) || 0);
  }
}

const later = (one, other) => (ORDER.indexOf(other) > ORDER.indexOf(one) ? other : one);
