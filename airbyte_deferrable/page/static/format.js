// Numbers, spans and moments as users read them. What is not known is a dash.

export const UNKNOWN = "–";
const SECOND = 1000;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A count: 48,200. */
export function count(value) {
  return isNumber(value) ? whole.format(value) : UNKNOWN;
}

/** A size: 91.3 MB. */
export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  let unit = 0;
  // 999.6 kB would be shown as 1000 kB.
  for (; unit < UNITS.length - 1 && value >= 999.5; unit += 1) value /= 1000;
  return `${value.toFixed(unit && value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** Rows a second, or nothing. */
export function rowRate(value) {
  return isNumber(value) ? `${value < 9.95 ? tenths.format(value) : whole.format(value)}/s` : "";
}

/** Bytes a second, or nothing. */
export function byteRate(value) {
  return isNumber(value) ? `${bytes(value)}/s` : "";
}

/** A span of seconds, as exact as one wants to know it: 42 s, 5 min 20 s, 1 h 05 min. */
export function span(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  if (rounded < 600) return pair(rounded, 60, "min", 1, "s");
  if (rounded < 3570) return `${Math.round(rounded / 60)} min`;
  const minutes = Math.round(rounded / 60);
  if (minutes < 24 * 60) return pair(minutes, 60, "h", 1, "min");
  return pair(Math.round(minutes / 60), 24, "d", 1, "h");
}

function pair(value, large, largeName, small, smallName) {
  const rest = Math.floor((value % large) / small);
  const padded = String(rest).padStart(2, "0");
  return `${Math.floor(value / large)} ${largeName}${rest ? ` ${largeName === "h" ? padded : rest} ${smallName}` : ""}`;
}

/** The same, where nobody asks for seconds: 7 min. */
export function roughSpan(seconds) {
  return seconds >= 60 && seconds < 600 ? span(60 * Math.round(seconds / 60)) : span(seconds);
}

/** How long ago something was, to the minute: what changes at each refresh only draws the eye. */
export function ago(seconds) {
  if (!isNumber(seconds)) return "";
  if (seconds < 60) return "just now";
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${span(seconds)} ago`;
}

// A user's clock may be wrong: spans are counted by Airflow's.
let ahead = 0;

/** Take over Airflow's clock. */
export function setClock(now) {
  const told = Date.parse(now ?? "");
  if (!Number.isNaN(told)) ahead = told - Date.now();
}

/** Seconds since a moment, null if it is not known. */
export function secondsSince(moment) {
  const then = Date.parse(moment ?? "");
  return Number.isNaN(then) ? null : (Date.now() + ahead - then) / SECOND;
}

// The time zone that the user has chosen in Airflow's page, where that keeps it; else the browser's.
let zone;
let formats;

function chooseZone() {
  try {
    const kept = localStorage.getItem("timezone") ?? "";
    zone = kept.startsWith('"') ? JSON.parse(kept) : kept;
    new Intl.DateTimeFormat("en", { timeZone: zone });
  } catch {
    zone = "";
  }
  zone ||= Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const format = (options) => new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", ...options });
  formats = {
    day: format({ year: "numeric", month: "2-digit", day: "2-digit" }),
    minute: format({ hour: "2-digit", minute: "2-digit" }),
    second: format({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
    zoned: format({ hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }),
    date: format({ month: "short", day: "numeric" }),
  };
}

chooseZone();
addEventListener("storage", (event) => event.key === "timezone" && chooseZone());

/** A moment, with its day if that is not today: 14:02 or Nov 29, 14:02. */
export function moment(text, format = "minute") {
  const then = Date.parse(text ?? "");
  if (Number.isNaN(then)) return UNKNOWN;
  const today = formats.day.format(Date.now() + ahead) === formats.day.format(then);
  return `${today ? "" : `${formats.date.format(then)}, `}${formats[format].format(then)}`;
}

/** The same to the second: 14:02:11. */
export function exactMoment(text) {
  return moment(text, "second");
}

/** A moment to the second, with its zone: 14:02:11 UTC. */
export function clockTime(text) {
  const then = Date.parse(text ?? "");
  return Number.isNaN(then) ? UNKNOWN : formats.zoned.format(then);
}

/** A moment in full: 2026-11-28, 04:57:22 UTC. */
export function fullMoment(text) {
  const then = Date.parse(text ?? "");
  if (Number.isNaN(then)) return "";
  const { year, month, day } = Object.fromEntries(formats.day.formatToParts(then).map((part) => [part.type, part.value]));
  return `${year}-${month}-${day}, ${formats.zoned.format(then)}`;
}
