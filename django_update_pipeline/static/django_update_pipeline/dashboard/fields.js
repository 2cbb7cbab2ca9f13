/**
 * Reads fields of what came over the socket. A missing field reads as a default, never as something inherited:
 * `report.constructor` of an object without that key would be a function.
 */

/** A field of an object, or undefined. */
export function field(object, name) {
  return object !== null && typeof object === "object" && Object.hasOwn(object, name) ? object[name] : undefined;
}

/** A finite number, or the default. */
export function number(object, name, otherwise = 0) {
  const value = field(object, name);
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

/** A text, or the default; numbers and booleans as they read. */
export function text(object, name, otherwise = "") {
  const value = field(object, name);
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : otherwise;
}

/** A list, or an empty one. */
export function list(object, name) {
  const value = field(object, name);
  return Array.isArray(value) ? value : [];
}

/** An object, or an empty one without a prototype. */
export function inner(object, name) {
  const value = field(object, name);
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : Object.create(null);
}
