// What the page says of itself: how old it is, what keeps it from being newer, and what a screen reader is told.
import { byId, make, setAttribute, setText } from "./dom.js";
import { ago, clockTime, fullMoment, secondsSince } from "./format.js";
import { letLinksOut } from "./frame.js";
import { keepAsking } from "./refresh.js";

let madeAt = null;
let trouble = null;

/**
 * Keep a page up to date, and say how that goes.
 * @param {string} address what to ask
 * @param {function(Object)} show takes an answer
 * @param {function(Object): string} tell says the same in a sentence, for who cannot see it
 */
export function keepFresh(address, show, tell) {
  const button = byId("refresh");
  let told = "";
  const refresh = keepAsking({
    address,
    onData(data, byUser) {
      show(data);
      madeAt = data.made_at ?? data.now;
      trouble = null;
      byId("content").hidden = false;
      byId("loading").hidden = true;
      showTrouble();
      showAge();
      const sentence = tell(data);
      // At each refresh it would be a nuisance.
      if (byUser || sentence !== told) say(`${sentence} Updated ${clockTime(madeAt)}.`);
      told = sentence;
    },
    onTrouble(found) {
      trouble = found;
      byId("loading").hidden = true;
      showTrouble();
      showAge();
    },
    onBusy(busy) {
      setAttribute(button, "aria-disabled", busy ? "true" : null);
    },
  });
  button.addEventListener("click", refresh);
  setInterval(() => trouble && showAge(), 10_000);
  letLinksOut();
}

/** Tell a screen reader, when it has nothing else to say. */
export function say(text) {
  setText(byId("said"), text);
}

function showAge() {
  const updated = byId("updated");
  const old = Boolean(trouble) && madeAt !== null;
  setText(updated, madeAt === null ? "" : `Updated ${clockTime(madeAt)}${old ? `, ${ago(secondsSince(madeAt))}` : ""}`);
  setAttribute(updated, "title", fullMoment(madeAt));
  setAttribute(updated, "class", old ? "old icon icon-warning" : null);
}

function showTrouble() {
  const banner = byId("trouble");
  if (!trouble) {
    banner.hidden = true;
    banner.replaceChildren();
    return;
  }
  const kept = madeAt === null ? "" : `What you see is of ${clockTime(madeAt)}.`;
  const text = [trouble.what, trouble.todo, kept].filter(Boolean).join(" ");
  // It is read out once, not at each try.
  if (banner.dataset.text === text && !banner.hidden) return;
  banner.dataset.text = text;
  banner.hidden = false;
  const words = [make("strong", {}, trouble.what), ` ${trouble.todo} ${kept} `];
  if (trouble.login) words.push(make("a", { href: trouble.login, target: "_blank", rel: "noopener" }, "Log in"));
  banner.replaceChildren(make("span", { class: "icon icon-warning" }), make("p", {}, ...words));
}
