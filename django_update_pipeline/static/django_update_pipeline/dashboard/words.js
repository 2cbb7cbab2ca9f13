/** Numbers and times in words. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** 12,345 */
export const count = (value) => whole.format(value);

/** 3.4 or 1,240: a rate a second. */
export const rate = (value) => (value < 10 ? one : whole).format(value);

/** 1.2K, for axes. */
export const compact = (value) => short.format(value);

/** 0.42, 4.2, 42: milliseconds with two places that mean something. */
export function ms(value) {
  if (value < 1) return value.toFixed(2);
  return value < 10 ? value.toFixed(1) : whole.format(value);
}

/** 14 s, 3 min, 2 h 5 min, 3 d: a duration. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`;
  if (s < 86400) {
    const left = Math.floor((s % 3600) / 60);
    return left ? `${Math.floor(s / 3600)} h ${left} min` : `${Math.floor(s / 3600)} h`;
  }
  return `${Math.floor(s / 86400)} d`;
}

/** 312 B, 4.2 KB, 1.3 MB */
export function bytes(value) {
  if (value < 1000) return `${value} B`;
  return value < 1e6 ? `${one.format(value / 1000)} KB` : `${one.format(value / 1e6)} MB`;
}

/** 14:03:10, of Unix seconds. */
export const timeOfDay = (seconds) => clock.format(new Date(seconds * 1000));

/** 14:03 */
export const hourAndMinute = (seconds) => minutes.format(new Date(seconds * 1000));

/** Nov 25, 2026, 14:03:10 */
export const dateAndTime = (seconds) => day.format(new Date(seconds * 1000));

/** "1 letter", "3 letters" */
export const some = (n, noun) => `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;
