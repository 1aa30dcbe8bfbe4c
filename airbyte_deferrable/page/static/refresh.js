// Asks Airflow again and again, while somebody looks, and says in words what keeps it from answering.
import { loginAddress } from "./frame.js";

const PATIENCE = 30_000;
const LONGEST_WAIT = 60;
const BY_STATUS = {
  401: { what: "You are not logged in any more.", todo: "Log in to Airflow, then refresh.", login: true },
  403: {
    what: "Airflow does not let you see this.",
    todo:
      "If you could see it before, log in again. Else ask whoever runs Airflow for the right to read task instances and " +
      "XComs.",
    login: true,
  },
  404: { what: "Airflow knows no such task instance, or you may not see it.", todo: "" },
};
const AGAIN = "It is asked again by itself.";

/** Why there is no answer: what is wrong, and what to do. */
export class Trouble extends Error {
  constructor({ what, todo, login = false, status = 0 }) {
    super(what);
    Object.assign(this, { what, todo, status, login: login ? loginAddress() : null });
  }
}

async function ask(address) {
  let answer;
  try {
    answer = await fetch(address, {
      credentials: "same-origin",
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Trouble({
      what: late ? `Airflow has not answered for ${PATIENCE / 1000} seconds.` : "Airflow does not answer.",
      todo: `${late ? "It may be busy." : "Is your network up, and Airflow's API server?"} ${AGAIN}`,
    });
  }
  const { status } = answer;
  if (!answer.ok) {
    const known = BY_STATUS[status] ?? {
      what: `Airflow's API server has failed (status ${status}).`,
      todo: `Its log says why. ${AGAIN}`,
    };
    throw new Trouble({ ...known, status });
  }
  try {
    return { now: answer.headers.get("date"), ...(await answer.json()) };
  } catch {
    throw new Trouble({
      what: "Airflow's answer is not what it should be.",
      todo: "If a proxy asks you to log in, reload the page.",
    });
  }
}

/**
 * Keep asking.
 * @param {Object} how
 * @param {string} how.address whom
 * @param {function(Object, boolean)} how.onData takes an answer, and whether the user has asked for it
 * @param {function(Trouble, number)} how.onTrouble takes what is wrong, and the seconds until it is asked again
 * @param {function(boolean)} how.onBusy takes whether an answer is waited for
 * @returns {function()} asks at once
 */
export function keepAsking({ address, onData, onTrouble, onBusy }) {
  let every = 10;
  let failures = 0;
  let due = 0;
  let timer = 0;
  let busy = false;

  async function load(byUser) {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    onBusy(true);
    try {
      const data = await ask(address);
      failures = 0;
      every = Math.max(1, Number(data.refresh_seconds) || 10);
      onData(data, byUser);
    } catch (error) {
      failures += 1;
      if (!(error instanceof Trouble)) console.error(error);
      onTrouble(
        error instanceof Trouble
          ? error
          : new Trouble({ what: "This page could not show what Airflow has answered.", todo: "Reload the page." }),
      );
    } finally {
      busy = false;
      onBusy(false);
    }
    due = performance.now() + 1000 * Math.min(every * 2 ** Math.max(0, failures - 1), Math.max(every, LONGEST_WAIT));
    plan();
  }

  function plan() {
    clearTimeout(timer);
    // Nobody looks: nobody asks.
    if (!document.hidden && !busy) timer = setTimeout(load, Math.max(0, due - performance.now()), false);
  }

  document.addEventListener("visibilitychange", plan);
  window.addEventListener("online", () => failures && load(false));
  plan();
  return () => load(true);
}
