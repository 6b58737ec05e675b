/** Reading tokens for display, and keeping them out of sight. The server alone decides whether one is valid. */

const ID_CLAIMS = ["userId", "sub", "id", "user_id", "guestId", "_id"];
const JWT = /eyJ[\w-]+\.[\w-]+\.[\w-]*/g;
const SECRET_KEYS = /^(?:.*token|authorization|password|secret|cookie)$/i;

/** The person a token names: {id, name, role, guest, expiresAt}; null when it is no JWT or names nobody. */
export function identity(token) {
  const claims = payload(token);
  const claim = ID_CLAIMS.find((name) => claims?.[name] != null);
  if (!claim) return null;
  return {
    id: claims[claim],
    name: claims.name ?? "",
    role: claims.role ?? "",
    guest: claims.type === "guest" || claims.role === "guest" || claims.guestId != null,
    expiresAt: typeof claims.exp === "number" ? new Date(claims.exp * 1000) : null,
  };
}

function payload(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return claims !== null && typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
}

/** "Bearer eyJ…" or a quoted token, as people paste them, without the wrapping. */
export const clean = (text) =>
  text
    .trim()
    .replace(/^["']|["']$/g, "")
    .replace(/^Bearer\s+/i, "");

/** Take `token=…` out of the address bar's fragment and return it; null when there is none. The rest stays. */
export function tokenFromFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return null;
  fragment.delete("token");
  const rest = fragment.size ? `#${fragment}` : "";
  history.replaceState(history.state, "", location.pathname + location.search + rest);
  return clean(token);
}

/** The same text with every JWT hidden. */
export const mask = (text) => text.replace(JWT, "eyJ…(masked)");

/** Pretty JSON of an event's arguments, with everything that looks like a credential hidden. */
export function maskedJson(value, indent) {
  const hide = (key, inner) => {
    if (typeof inner === "bigint") return String(inner);
    return SECRET_KEYS.test(key) && typeof inner === "string" ? "…(masked)" : inner;
  };
  return mask(JSON.stringify(value, hide, indent) ?? "");
}
