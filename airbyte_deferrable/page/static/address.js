// What a user has searched, filtered and sorted, kept in the address: a link shows others the same.
import { airflow } from "./frame.js";

// In a frame nobody sees this page's own address: Airflow's, which users copy, has no other use for what follows its #.
const shown = airflow ?? window;

/** What the address says, by name. */
export function read() {
  return Object.fromEntries(new URLSearchParams(shown.location.hash.slice(1)));
}

/** Let the address say this: what is empty is left out. */
export function write(values) {
  const said = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  const hash = String(said) && `#${said}`;
  if (hash === shown.location.hash) return;
  const { pathname, search } = shown.location;
  // No event, and no step back to each letter of a search. The state is the router's of Airflow's page.
  shown.history.replaceState(shown.history.state, "", `${pathname}${search}${hash}`);
}

/** Call when a user has changed the address. */
export function onChange(listener) {
  shown.addEventListener("hashchange", listener);
  // What Airflow's page holds would keep this one alive.
  window.addEventListener("pagehide", () => shown.removeEventListener("hashchange", listener));
}
