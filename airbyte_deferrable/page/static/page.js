// The page: every sync that tasks wait for, and those that have ended in the last day.
import * as address from "./address.js";
import * as cells from "./cells.js";
import { byId, setAttribute, setText } from "./dom.js";
import { count, setClock } from "./format.js";
import { Filters } from "./filters.js";
import * as health from "./health.js";
import { keepFresh, say } from "./report.js";
import { hasEnded, keyOf, lateBy, lookOf, nameOf, seconds, standing } from "./syncs.js";
import { Table } from "./table.js";

let answer = { running: [], ended: [], running_left_out: 0, ended_left_out: 0 };

const common = {
  connection: { value: nameOf, cell: cells.connection, kind: "text" },
  task: { value: (sync) => `${sync.dag_id} ${sync.task_id} ${Math.max(0, sync.map_index)}`, cell: cells.task, kind: "text" },
  duration: { value: seconds, cell: cells.duration, first: "-" },
  rows: { value: (sync) => sync.rows, cell: cells.rows, first: "-" },
  data: { value: (sync) => sync.bytes, cell: cells.data, first: "-" },
  attempts: { value: (sync) => sync.attempts, cell: cells.attempts, first: "-" },
  job: { value: (sync) => sync.job_id, cell: cells.job, first: "-" },
};
const status = { value: (sync) => lookOf(standing(sync)).label, kind: "text" };
const byKey = (one, other) => (keyOf(one) < keyOf(other) ? -1 : 1);

const running = new Table(byId("running"), {
  key: keyOf,
  columns: { ...common, status: { ...status, cell: cells.status } },
  // What is late, and by how much; then what runs longest.
  order: (one, other) =>
    (lateBy(other) ?? -1) - (lateBy(one) ?? -1) || (seconds(other) ?? 0) - (seconds(one) ?? 0) || byKey(one, other),
  look: (sync) => (lateBy(sync) === null ? "" : "is-late"),
  onChange: changed,
});
const ended = new Table(byId("ended"), {
  key: keyOf,
  columns: {
    ...common,
    status: { ...status, cell: cells.outcome },
    ended: { value: (sync) => Date.parse(sync.ended_at ?? "") || null, cell: cells.endedAt, first: "-" },
  },
  order: (one, other) => (Date.parse(other.ended_at) || 0) - (Date.parse(one.ended_at) || 0) || byKey(one, other),
  look: (sync) => (sync.outcome === "failed" ? "is-failed" : ""),
  onChange: changed,
});
const filters = new Filters(byId("filters"), () => {
  running.fold();
  ended.fold();
  changed();
});
const shortcuts = [...document.querySelectorAll("[data-status]")];

/** A user has searched, filtered or sorted. */
function changed() {
  address.write({ ...filters.values, sort: running.sort, ended: ended.sort });
  showRows();
  sayWhatFits();
}

let saying = 0;

function sayWhatFits() {
  // Not each letter of a search.
  clearTimeout(saying);
  saying = setTimeout(() => {
    const parts = [running, ended].map((table, index) => `${table.items.length} ${index ? "ended" : "running"}`);
    say(`${parts.join(" and ")} ${filters.active ? "fit the search and filters" : "syncs"}.`);
  }, 600);
}

/** The address says what is wanted: at the start, and when a user has changed it. */
function obey() {
  const { sort = "", ended: endedSort = "", ...values } = address.read();
  filters.set(values);
  running.sortBy(sort);
  ended.sortBy(endedSort);
  showRows();
}

function showRows() {
  showSection("running", running, answer.running, answer.running_left_out, "No task waits for a sync at present. Those that come will be seen here by themselves.");
  showSection("ended", ended, answer.ended, answer.ended_left_out, "No sync has ended in the last 24 hours.");
  for (const button of shortcuts) {
    setAttribute(button, "aria-pressed", filters.values.status === button.dataset.status);
  }
}

function showSection(name, table, all, leftOut, nothing) {
  const fitting = filters.active ? all.filter((sync) => filters.fits(sync)) : all;
  table.show(fitting);
  const total = count(all.length + leftOut);
  setText(byId(`${name}-count`), fitting.length === all.length ? total : `${count(fitting.length)} of ${total}`);
  const empty = byId(`${name}-empty`);
  empty.hidden = fitting.length > 0;
  setText(empty.firstElementChild, all.length ? `None of ${total} fits the search and filters.` : nothing);
  empty.lastElementChild.hidden = !all.length;
  const left = byId(`${name}-left-out`);
  left.hidden = !leftOut;
  setText(left, `${count(leftOut)} more are not on this page, and are not searched.`);
}

function show(data) {
  answer = data;
  setClock(data.now);
  filters.offer([...data.running, ...data.ended]);
  for (const button of shortcuts) setText(button.firstElementChild, count(howMany(button.dataset.status)));
  for (const button of shortcuts) button.classList.toggle("is-none", !howMany(button.dataset.status));
  health.show(data.health);
  showRows();
}

function howMany(wanted) {
  if (wanted === "live") return answer.running.length + answer.running_left_out;
  if (wanted === "late") return answer.running.filter((sync) => sync.late).length;
  return [...answer.running, ...answer.ended].filter((sync) => standing(sync) === wanted).length;
}

function tell(data) {
  const late = data.running.filter((sync) => sync.late).length;
  const failed = data.ended.filter((sync) => sync.outcome === "failed").length;
  const sentences = [
    `${howMany("live")} running, ${late} of them late.`,
    `${data.ended.filter(hasEnded).length + data.ended_left_out} ended in the last 24 hours, ${failed} of them failed.`,
    health.summary(data.health),
  ];
  return sentences.filter(Boolean).join(" ");
}

for (const button of shortcuts) {
  button.addEventListener("click", () => {
    const { status: wanted } = button.dataset;
    const pressed = filters.values.status === wanted;
    filters.set({ ...filters.values, status: pressed ? "" : wanted });
    running.fold();
    ended.fold();
    changed();
  });
}
for (const button of document.querySelectorAll("[data-clear]")) {
  button.addEventListener("click", () => {
    filters.clear();
    changed();
    byId("filters").elements.q.focus();
  });
}
address.onChange(obey);
obey();
keepFresh("api/syncs", show, tell);
