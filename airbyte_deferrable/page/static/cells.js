// What the cells of a sync's row show. Each maker gives a cell's nodes, and how to bring them up to date.
import { make, setAttribute, setText } from "./dom.js";
import {
  ago, byteRate, bytes, clockTime, count, fullMoment, moment, roughSpan, rowRate, secondsSince, span, UNKNOWN,
} from "./format.js";
import { airflowAddress, webAddress } from "./frame.js";
import { attemptNote, isSyncing, lateBy, lookOf, nameOf, notes, seconds, standing } from "./syncs.js";

/** A status with its colour and its sign: never by colour alone. */
export function badge() {
  const element = make("span", { class: "badge" });
  return {
    nodes: [element],
    update(word) {
      const { label, tone, icon } = lookOf(word);
      setText(element, label);
      setAttribute(element, "class", `badge tone-${tone} icon icon-${icon}`);
    },
  };
}

/** A link that is a plain text where it leads nowhere. */
export function link(attributes = {}) {
  const element = make("a", attributes);
  return {
    element,
    update(text, address) {
      setText(element, text);
      setAttribute(element, "href", address);
    },
  };
}

/** From where to where. */
export function route() {
  const from = make("span");
  const to = make("span");
  const arrow = make("span", { class: "arrow", "aria-hidden": "true" }, " → ");
  const into = make("span", { class: "visually-hidden" }, " to ");
  const element = make("span", { class: "second" }, from, arrow, into, to);
  return {
    element,
    update({ source, destination }) {
      element.hidden = !source && !destination;
      setText(from, source ?? "unknown");
      setText(to, destination ?? "unknown");
    },
  };
}

/** A sync's connection, and from where to where it goes. */
export function connection() {
  const name = make("span", { class: "first name" });
  const where = route();
  return {
    nodes: [name, where.element],
    update(sync) {
      setText(name, nameOf(sync));
      setAttribute(name, "title", nameOf(sync));
      where.update(sync);
    },
  };
}

/** A sync's task, with a link, and its DAG. */
export function task() {
  const name = link({ class: "first name" });
  const dag = make("span", { class: "second" });
  return {
    nodes: [name.element, dag],
    update(sync) {
      const mapped = sync.map_index >= 0 ? ` [${sync.map_index}]` : "";
      name.update(`${sync.task_id}${mapped}`, airflowAddress(sync.task_path));
      setAttribute(name.element, "title", `${sync.task_id}${mapped} of run ${sync.run_id}`);
      setText(dag, sync.dag_id);
      setAttribute(dag, "title", sync.dag_id);
    },
  };
}

/** How a sync stands, and what else is worth a word. */
export function status() {
  const shown = badge();
  const tries = make("span", { class: "second attempt-note" });
  const more = make("span", { class: "second" });
  return {
    nodes: [...shown.nodes, tries, more],
    update(sync) {
      shown.update(standing(sync));
      setText(tries, attemptNote(sync));
      setText(more, notes(sync).join(" · "));
    },
  };
}

const LONG = 90;

/** How a sync ended, and why if it failed: two lines, all of it at a press. */
export function outcome() {
  const shown = status();
  const reason = make("span", { class: "reason" });
  const button = make("button", { type: "button", class: "reason", "aria-expanded": "false" });
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") === "false"));
  });
  reason.hidden = button.hidden = true;
  return {
    nodes: [...shown.nodes, reason, button],
    update(sync) {
      shown.update(sync);
      const text = sync.reason ?? "";
      const long = text.length > LONG;
      reason.hidden = !text || long;
      button.hidden = !long;
      setText(long ? button : reason, text);
    },
  };
}

/** How long a sync takes, beside how long it usually does. */
export function duration() {
  const taken = make("span", { class: "first figure" });
  const late = make("span", { class: "late icon icon-warning" });
  const done = make("span", { class: "bar-done" });
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, done, make("span", { class: "bar-usual" }));
  const usual = make("span", { class: "second" });
  return {
    nodes: [make("span", { class: "line" }, taken, late), bar, usual],
    update(sync) {
      const lasts = seconds(sync);
      const over = lateBy(sync);
      const compared = isSyncing(sync) && sync.usual_seconds !== null && lasts !== null;
      setText(taken, span(lasts));
      late.hidden = over === null;
      setText(late, over === null ? "" : `Late by ${roughSpan(over)}`);
      bar.hidden = !compared;
      if (compared) {
        // As long as the longer of both: the mark of the usual wanders to the left while a sync is late.
        const whole = Math.max(lasts, sync.usual_seconds, 1);
        setAttribute(bar, "class", over === null ? "bar" : "bar bar-late");
        done.style.width = `${(100 * lasts) / whole}%`;
        bar.lastElementChild.style.left = `${(100 * sync.usual_seconds) / whole}%`;
      }
      setText(usual, durationNote(sync, compared));
      setAttribute(usual, "title", sync.usual_of ? `The median of the last ${sync.usual_of} that succeeded` : null);
    },
  };
}

function durationNote(sync, compared) {
  const since = sync.since ? `since ${moment(sync.since)}` : "";
  const usually = compared ? `usually ${span(sync.usual_seconds)}` : "";
  return [since, usually].filter(Boolean).join(" · ");
}

/** When a sync ended. */
export function endedAt() {
  const at = make("time", { class: "first figure" });
  const past = make("span", { class: "second" });
  return {
    nodes: [at, past],
    update(sync) {
      setText(at, moment(sync.ended_at));
      setAttribute(at, "datetime", sync.ended_at);
      setAttribute(at, "title", fullMoment(sync.ended_at));
      setText(past, ago(secondsSince(sync.ended_at)));
    },
  };
}

function figures(value, rate) {
  return () => {
    const total = make("span", { class: "first figure" });
    const each = make("span", { class: "second figure" });
    return {
      nodes: [total, each],
      update(sync) {
        setText(total, value(sync));
        setText(each, rate(sync));
        setAttribute(total, "title", sync.seen_at ? `As of ${clockTime(sync.seen_at)}` : null);
      },
    };
  };
}

/** Rows, and rows a second. */
export const rows = figures((sync) => count(sync.rows), (sync) => rowRate(sync.rows_per_second));

/** Bytes, and bytes a second. */
export const data = figures((sync) => bytes(sync.bytes), (sync) => byteRate(sync.bytes_per_second));

/** Airbyte's attempts. */
export const attempts = figures((sync) => count(sync.attempts), () => "");

/** The job, with a link to it in Airbyte, and which Airbyte that is. */
export function job() {
  const number = link({ class: "first", target: "_blank", rel: "noreferrer" });
  const where = make("span", { class: "second" });
  return {
    nodes: [number.element, where],
    update(sync) {
      const address = webAddress(sync.airbyte_url);
      const known = sync.job_id !== null && sync.job_id !== undefined;
      number.update(known ? String(sync.job_id) : address ? "Airbyte" : UNKNOWN, address);
      setAttribute(number.element, "class", address ? "first icon-after icon-out" : "first");
      setAttribute(number.element, "aria-label", address ? `Airbyte job ${sync.job_id ?? ""}, in a new tab` : null);
      setText(where, sync.conn_id ?? "");
      setAttribute(where, "title", sync.conn_id);
    },
  };
}
