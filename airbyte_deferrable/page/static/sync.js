// The tab of a task instance: the story of its sync, its attempts and its streams.
import * as cells from "./cells.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import {
  byteRate, bytes, count, exactMoment, fullMoment, moment, roughSpan, rowRate, setClock, span,
} from "./format.js";
import { keepFresh } from "./report.js";
import { hasEnded, isSyncing, lateBy, lookOf, nameOf, notes, seconds, standing } from "./syncs.js";
import { Table } from "./table.js";

const badge = cells.badge();
const late = make("span", { class: "late icon icon-warning" });
const more = make("span", { class: "quiet" });
const where = cells.route();
const job = cells.job();
byId("standing").append(...badge.nodes, " ", late, " ", more);
byId("route").append(where.element);

/** A cell with one text of a row. */
function text(value, kind = "first") {
  return () => {
    const element = make("span", { class: kind });
    return { nodes: [element], update: (row) => setText(element, value(row)) };
  };
}

const attempts = new Table(byId("attempts"), {
  key: (attempt) => String(attempt.number),
  order: (one, other) => one.number - other.number,
  columns: {
    number: { cell: text((attempt) => attempt.number) },
    status: { cell: attemptStatus },
    started: { cell: text((attempt) => moment(attempt.started_at)) },
    duration: { cell: text((attempt) => span(lasted(attempt))) },
    rows: { cell: text((attempt) => count(attempt.rows), "first figure") },
    data: { cell: text((attempt) => bytes(attempt.bytes), "first figure") },
  },
});
const streams = new Table(byId("streams"), {
  key: (stream) => JSON.stringify([stream.namespace, stream.name]),
  order: (one, other) => (other.rows ?? -1) - (one.rows ?? -1) || (one.name < other.name ? -1 : 1),
  columns: {
    name: { value: (stream) => stream.name, cell: streamName, kind: "text" },
    destination: { value: (stream) => stream.destination, cell: text((stream) => stream.destination ?? "–"), kind: "text" },
    mode: { value: (stream) => stream.sync_mode, cell: text((stream) => mode(stream.sync_mode)), kind: "text" },
    rows: { value: (stream) => stream.rows, cell: text((stream) => count(stream.rows), "first figure"), first: "-" },
    rejected: { value: (stream) => stream.rows_rejected, cell: rejected, first: "-" },
    data: { value: (stream) => stream.bytes, cell: text((stream) => bytes(stream.bytes), "first figure"), first: "-" },
  },
});

function attemptStatus() {
  const shown = cells.badge();
  const reason = make("span", { class: "reason" });
  return {
    nodes: [...shown.nodes, reason],
    update(attempt) {
      shown.update(attempt.status);
      setText(reason, attempt.reason ?? "");
    },
  };
}

function streamName() {
  const name = make("span", { class: "first name" });
  const namespace = make("span", { class: "second" });
  return {
    nodes: [name, namespace],
    update(stream) {
      setText(name, stream.name);
      setText(namespace, stream.namespace ?? "");
    },
  };
}

function rejected() {
  const element = make("span");
  return {
    nodes: [element],
    update(stream) {
      setText(element, count(stream.rows_rejected));
      setAttribute(element, "class", stream.rows_rejected > 0 ? "first figure late icon icon-warning" : "first figure");
    },
  };
}

function mode(text) {
  return text ? text.replaceAll("_", " ") : "–";
}

function lasted(attempt) {
  const passed = (Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000;
  return Number.isNaN(passed) ? null : passed;
}

const facts = new Map();

/** What there is to say of a sync, name by name: a name stays where it is, known or not. */
function showFacts(sync) {
  const all = {
    [hasEnded(sync) ? "Took" : isSyncing(sync) ? "Runs for" : "Waits for"]: [span(seconds(sync)), ""],
    Usually: [span(sync.usual_seconds), sync.usual_of ? `median of ${sync.usual_of}` : ""],
    Rows: [count(sync.rows), rowRate(sync.rows_per_second)],
    Data: [bytes(sync.bytes), byteRate(sync.bytes_per_second)],
    Attempts: [count(sync.attempts), ""],
    [hasEnded(sync) ? "Started" : "Since"]: [moment(sync.started_at ?? sync.since), "", fullMoment(sync.started_at ?? sync.since)],
    ...(hasEnded(sync) ? { Ended: [moment(sync.ended_at), "", fullMoment(sync.ended_at)] } : {}),
    ...(sync.queued_seconds ? { "In the queue": [span(sync.queued_seconds), ""] } : {}),
    ...(sync.seen_at ? { "Figures of": [exactMoment(sync.seen_at), "", fullMoment(sync.seen_at)] } : {}),
  };
  const list = byId("facts");
  for (const [name, fact] of facts) {
    if (name in all) continue;
    fact.element.remove();
    facts.delete(name);
  }
  Object.entries(all).forEach(([name, [value, second, title]], index) => {
    if (!facts.has(name)) facts.set(name, makeFact(name));
    const fact = facts.get(name);
    setText(fact.value, value);
    setText(fact.second, second);
    setAttribute(fact.value, "title", title || null);
    if (list.children[index] !== fact.element) list.insertBefore(fact.element, list.children[index] ?? null);
  });
  job.update(sync);
  if (!jobFact.isConnected) list.append(jobFact);
}

function makeFact(name) {
  const value = make("span", { class: "value" });
  const second = make("span", { class: "second" });
  return { value, second, element: make("div", {}, make("dt", {}, name), make("dd", {}, value, second)) };
}

const jobFact = make("div", {}, make("dt", {}, "Airbyte job"), make("dd", {}, ...job.nodes));

function showStory(story) {
  const list = byId("story");
  story.forEach(({ at, what }, index) => {
    const line = list.children[index] ?? list.appendChild(make("li", {}, make("time"), make("span")));
    const [time, said] = line.children;
    setText(time, exactMoment(at));
    setAttribute(time, "datetime", at);
    setAttribute(time, "title", fullMoment(at));
    setText(said, what);
  });
  while (list.children.length > story.length) list.lastElementChild.remove();
  byId("story-empty").hidden = story.length > 0;
}

function show(answer) {
  setClock(answer.now);
  byId("not-ours").hidden = answer.ours;
  byId("sync").hidden = !answer.ours;
  if (!answer.ours) return;
  const { sync } = answer;
  const over = lateBy(sync);
  setText(byId("name"), nameOf(sync));
  badge.update(standing(sync));
  late.hidden = over === null;
  setText(late, over === null ? "" : `Late by ${roughSpan(over)}`);
  setText(more, notes(sync).join(" · "));
  where.update(sync);
  byId("reason").hidden = !sync.reason;
  setText(byId("reason"), sync.reason ?? "");
  showFacts(sync);
  showStory(answer.story);
  showTable("attempts", attempts, answer.attempts, 0);
  showTable("streams", streams, answer.streams, answer.streams_left_out);
}

function showTable(name, table, rows, leftOut) {
  table.show(rows);
  setText(byId(`${name}-count`), rows.length ? count(rows.length + leftOut) : "");
  byId(`${name}-empty`).hidden = rows.length > 0;
  const left = byId(`${name}-left-out`);
  if (!left) return;
  left.hidden = !leftOut;
  setText(left, `${count(leftOut)} more are not shown.`);
}

function tell({ ours, sync }) {
  if (!ours) return "This task waits for no Airbyte sync.";
  const sentence = `The sync of ${nameOf(sync)}: ${lookOf(standing(sync)).label}`;
  return `${sentence}${lateBy(sync) === null ? "" : ", late"}.`;
}

// As Airflow has written it: an id may hold anything, and Airflow 3.1 does not encode it.
keepFresh(`api/sync${location.search}`, show, tell);
