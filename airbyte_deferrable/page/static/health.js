// How the wait itself is: a line for each triggerer and each Airbyte that it asks. What is wrong comes first.
import { byId, make, setAttribute, setText } from "./dom.js";
import { ago, fullMoment, moment, secondsSince, span } from "./format.js";

/** Lines that are shown when nothing is wrong; more are folded. */
const SHOWN = 3;
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const lines = new Map();

/** Show how triggerers and Airbytes are. */
export function show(health) {
  const bad = health.filter(isBad);
  const good = health.filter((each) => !isBad(each));
  const fold = good.length > SHOWN;
  const keys = new Set(health.map(keyOf));
  for (const [key, line] of lines) {
    if (keys.has(key)) continue;
    line.element.remove();
    lines.delete(key);
  }
  fill(byId("health-bad"), bad);
  fill(byId("health-good"), fold ? [] : good);
  fill(byId("health-folded"), fold ? good : []);
  byId("health-fold").hidden = !fold;
  setText(byId("health-fold").firstElementChild, `${good.length} ${bad.length ? "others" : "connections"}, all reachable`);
  byId("health-none").hidden = health.length > 0;
}

/** What is wrong, in a few words for who cannot see it. */
export function summary(health) {
  const bad = health.filter(isBad).length;
  return bad ? `${bad} of ${health.length} connections to Airbyte ${bad === 1 ? "needs" : "need"} attention.` : "";
}

function isBad(each) {
  return each.stale || each.reachable === false || Boolean(each.trouble);
}

function keyOf(each) {
  return JSON.stringify([each.triggerer, each.conn_id, each.process]);
}

function fill(list, health) {
  const order = [...health].sort((one, other) => keyOf(one).localeCompare(keyOf(other)));
  order.forEach((each, index) => {
    let line = lines.get(keyOf(each));
    if (!line) lines.set(keyOf(each), (line = makeLine()));
    line.update(each);
    if (list.children[index] !== line.element) list.insertBefore(line.element, list.children[index] ?? null);
  });
  list.hidden = !health.length;
}

function makeLine() {
  const name = make("strong");
  const state = make("span");
  const facts = make("span", { class: "facts" });
  const trouble = make("span", { class: "trouble" });
  const element = make("li", { class: "health-line" }, name, state, facts, trouble);
  return {
    element,
    update(each) {
      setText(name, each.conn_id);
      setAttribute(element, "class", isBad(each) ? "health-line bad" : "health-line");
      const [text, tone, icon] = stateOf(each);
      setText(state, text);
      setAttribute(state, "class", `badge tone-${tone} icon icon-${icon}`);
      setAttribute(state, "title", each.since ? `since ${fullMoment(each.since)}` : null);
      setText(facts, factsOf(each).join(" · "));
      trouble.hidden = !each.trouble;
      setText(trouble, each.trouble ?? "");
    },
  };
}

function stateOf(each) {
  if (each.stale) return ["No word from the triggerer: is it running?", "failed", "question"];
  if (each.reachable === false) {
    const since = each.since ? ` since ${moment(each.since)} (${span(secondsSince(each.since))})` : "";
    return [`Not reachable${since}`, "failed", "cross"];
  }
  return each.trouble ? ["Reachable, but", "warning", "warning"] : ["Reachable", "success", "check"];
}

function factsOf(each) {
  const facts = [];
  const isKnown = (value) => typeof value === "number";
  if (isKnown(each.waiting)) facts.push(`${number.format(each.waiting)} ${each.waiting === 1 ? "job" : "jobs"} waited for`);
  if (isKnown(each.answered_seconds_ago)) facts.push(`last answer ${span(each.answered_seconds_ago)} ago`);
  if (isKnown(each.requests_per_minute)) {
    const rate = number.format(each.requests_per_minute);
    facts.push(`${rate} ${rate === "1" ? "request" : "requests"} a minute`);
  }
  facts.push(`triggerer ${each.triggerer}`);
  if (each.stale && each.written_at) facts.push(`last heard ${ago(secondsSince(each.written_at))}`);
  return facts;
}
