/** Equality of parsed JSON, and of what selectors make of it. */

const has = Object.prototype.hasOwnProperty;

/** Whether two parsed JSON values are the same; keys may stand in any order, prototypes don't count. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, at) => sameJson(item, b[at]));
  }
  return sameEntries(a, b, sameJson);
}

/** Whether two values are identical, or hold identical values one level down: what selections are compared by. */
export function shallowEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  // Maps, sets and dates keep what they hold out of their properties.
  if (!Array.isArray(a) && ![null, Object.prototype].includes(Object.getPrototypeOf(a))) return false;
  return sameEntries(a, b, Object.is);
}

function sameEntries(a: object, b: object, same: (one: unknown, other: unknown) => boolean): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  return names.every((name) => has.call(right, name) && same(left[name], right[name]));
}
