/** Making tokens. The forms are there only when the server says that it runs in development mode. */

import { explain, send } from "./api.js";
import { byId, el, onSubmit, say, words } from "./dom.js";

/** `mints` are those of all tabs. */
export async function offerMints(mints) {
  let info;
  try {
    info = await send("GET", "/api/dev/info");
  } catch {
    return;
  }
  if (!info?.dev) return;
  for (const mint of mints) mint.show(info.roles ?? ["user"]);
}

export class Mint {
  #prefix;
  #guests;
  #onToken;

  /** With `guests` it makes guests' tokens. */
  constructor(prefix, { guests = false, onToken }) {
    this.#prefix = prefix;
    this.#guests = guests;
    this.#onToken = onToken;
    if (guests) this.#speakOfGuests();
    onSubmit(`${prefix}mint-form`, `${prefix}mint`, () => this.#make());
  }

  show(roles) {
    this.#part("mint-role").replaceChildren(...roles.map((role) => el("option", { value: role, text: words(role) })));
    this.#part("mint-form").hidden = false;
  }

  clear() {
    say(this.#part("mint-message"), "");
  }

  #part(name) {
    return byId(this.#prefix + name);
  }

  #speakOfGuests() {
    this.#part("mint-user-label").textContent = "Guest id";
    this.#part("mint-user-id").value = "123";
    this.#part("mint-role-field").hidden = true;
    this.#part("mint-name").value = "Gia";
    this.#part("mint-form").classList.add("without-role");
  }

  async #make() {
    const wish = { userId: this.#part("mint-user-id").value.trim(), name: this.#part("mint-name").value.trim() };
    const kind = this.#guests ? { guest: true } : { role: this.#part("mint-role").value };
    const message = this.#part("mint-message");
    try {
      const made = await send("POST", "/api/dev/token", { body: { ...wish, ...kind } });
      this.#onToken(made.token);
      say(message, `Token for ${made.name || made.userId} (${made.role}) is filled in. Now connect.`, "good");
    } catch (error) {
      say(message, explain(error), "bad");
    }
  }
}
