/** A token made, pasted or linked in one place is suggested everywhere else that has none of its own. */

import { clean } from "./token.js";

export class SharedToken {
  #takers = [];

  /** `taker.suggest(token)` decides whether it wants it. */
  join(taker) {
    this.#takers.push(taker);
  }

  offer(token) {
    for (const taker of this.#takers) taker.suggest(token);
  }
}

/** A token's field: it takes suggestions while it is empty, or as long as it holds the last one. */
export class TokenField {
  #field;
  #suggested = "";

  constructor(field) {
    this.#field = field;
  }

  get value() {
    return clean(this.#field.value);
  }

  suggest(token) {
    if (this.value !== "" && this.value !== this.#suggested) return;
    this.fill(token);
  }

  fill(token) {
    this.#field.value = this.#suggested = token;
    this.#field.dispatchEvent(new Event("input"));
  }
}
