// What a row of Airflow's answer means: which sync it is, how it stands, how long it takes.
import { secondsSince } from "./format.js";

const LIVE = {
  running: ["Running", "running", "play"],
  pending: ["Pending", "quiet", "dots"],
  incomplete: ["Incomplete", "warning", "warning"],
  queue: ["In the queue", "quiet", "dots"],
  fresh: ["Waits for fresh data", "deferred", "clock"],
  waiting: ["Waiting", "quiet", "clock"],
};
const ENDED = {
  succeeded: ["Succeeded", "success", "check"],
  failed: ["Failed", "failed", "cross"],
  cancelled: ["Cancelled", "quiet", "minus"],
  timeout: ["Timed out", "warning", "clock"],
  unknown: ["Unknown outcome", "quiet", "question"],
};

/** Which task instance a sync belongs to, in one text. */
export function keyOf(sync) {
  return JSON.stringify([sync.dag_id, sync.run_id, sync.task_id, sync.map_index]);
}

/** Whether it has ended. */
export function hasEnded(sync) {
  return typeof sync.outcome === "string";
}

/** What to call its connection: by name if that is known. */
export function nameOf(sync) {
  return sync.connection_name || sync.connection_id || "Connection not known yet";
}

/** How a word of Airbyte's looks here. */
export function lookOf(word) {
  const [label, tone, icon] = LIVE[word] ?? ENDED[word] ?? [sentence(word || "unknown"), "quiet", "question"];
  return { label, tone, icon };
}

/** How it stands: a word to filter by. */
export function standing(sync) {
  if (hasEnded(sync)) return sync.outcome;
  if (sync.waits_for === "queue" || sync.waits_for === "fresh") return sync.waits_for;
  return sync.status || "waiting";
}

/** Seconds that it has taken, or is taking; null if that is not known. */
export function seconds(sync) {
  return hasEnded(sync) ? sync.seconds : secondsSince(sync.since);
}

/** Whether these seconds are a sync's: not the wait for one. */
export function isSyncing(sync) {
  return hasEnded(sync) || sync.waits_for === "sync" || !sync.waits_for;
}

/** How much longer than usual it takes, in seconds; null if it is not late. */
export function lateBy(sync) {
  const taken = seconds(sync);
  return sync.late && taken !== null && sync.usual_seconds !== null ? taken - sync.usual_seconds : null;
}

/** Airbyte's attempts, if they are more than one. */
export function attemptNote(sync) {
  if (!(sync.attempts > 1)) return "";
  return hasEnded(sync) ? `${sync.attempts} attempts` : `attempt ${sync.attempts}`;
}

/** What else is worth a word beside its status. */
export function notes(sync) {
  const said = [];
  if (sync.try_number > 1) said.push(`try ${sync.try_number} of the task`);
  if (!hasEnded(sync)) {
    if (sync.task_state === "running") said.push("on a worker");
    else if (sync.task_state && sync.task_state !== "deferred") said.push(sync.task_state.replaceAll("_", " "));
  }
  return said;
}

/** All that a search looks through. */
export function words(sync) {
  const { connection_name, connection_id, source, destination, dag_id, run_id, task_id, job_id, conn_id, reason } = sync;
  return [connection_name, connection_id, source, destination, dag_id, run_id, task_id, job_id, conn_id, reason]
    .filter((each) => each !== null && each !== undefined)
    .join("\n")
    .toLowerCase();
}

function sentence(word) {
  const text = String(word).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
