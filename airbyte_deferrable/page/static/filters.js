// The search and the filters: which syncs a user wants to see.
import { make } from "./dom.js";
import { hasEnded, lookOf, nameOf, standing, words } from "./syncs.js";

/** What a choice lists: name and value of an item. */
const CHOICES = {
  dag: (sync) => sync.dag_id,
  connection: (sync) => nameOf(sync),
  airbyte: (sync) => sync.conn_id,
};
const NAMES = ["q", "status", ...Object.keys(CHOICES)];
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
// A row's words do not change between two refreshes, while a user types letter by letter.
const searched = new WeakMap();

export class Filters {
  /**
   * @param {HTMLFormElement} form with a control for each filter
   * @param {function()} onChange called when a user has changed one
   */
  constructor(form, onChange) {
    this.form = form;
    this.clearer = form.elements.clear;
    this.syncs = [];
    this.values = Object.fromEntries(NAMES.map((name) => [name, ""]));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      for (const name of NAMES) this.values[name] = form.elements[name].value.trim();
      this.#changed(onChange);
    });
    for (const name of Object.keys(CHOICES)) {
      // Thousands of names are not worth their while until somebody chooses from them.
      for (const event of ["focus", "pointerdown"]) form.elements[name].addEventListener(event, () => this.#fill(name));
    }
    this.clearer.addEventListener("click", () => {
      this.clear();
      form.elements.q.focus();
      onChange();
    });
  }

  /** Set all filters; those that are not named are cleared. */
  set(values) {
    for (const name of NAMES) {
      this.values[name] = values[name] ?? "";
      this.#showValue(name);
    }
    this.#changed();
  }

  clear() {
    this.set({});
  }

  /** Whether any is set. */
  get active() {
    return NAMES.some((name) => this.values[name]);
  }

  /** Offer what occurs in these syncs. */
  offer(syncs) {
    this.syncs = syncs;
    for (const name of Object.keys(CHOICES)) if (this.form.elements[name] === document.activeElement) this.#fill(name);
    const known = new Set([...this.form.elements.status.options].map((option) => option.value));
    for (const sync of syncs) {
      const word = standing(sync);
      if (known.has(word)) continue;
      known.add(word);
      const group = this.form.elements.status.querySelector(hasEnded(sync) ? "[data-ended]" : "[data-live]");
      group.append(make("option", { value: word }, lookOf(word).label));
    }
    this.#showValue("status");
  }

  /** Whether a sync is one that the user wants to see. */
  fits(sync) {
    const { q, status } = this.values;
    for (const [name, value] of Object.entries(CHOICES)) {
      if (this.values[name] && value(sync) !== this.values[name]) return false;
    }
    if (status && !fitsStatus(sync, status)) return false;
    if (!q) return true;
    let text = searched.get(sync);
    if (text === undefined) searched.set(sync, (text = words(sync)));
    return q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  #fill(name) {
    const select = this.form.elements[name];
    const found = new Set(this.syncs.map(CHOICES[name]).filter(Boolean));
    // What is chosen stays to be chosen, also when no sync has it any more.
    if (this.values[name]) found.add(this.values[name]);
    const [any, ...offered] = select.options;
    const wanted = [...found].sort(collator.compare);
    // A list that is open closes when it changes.
    if (wanted.length === offered.length && wanted.every((each, index) => each === offered[index].value)) return;
    select.replaceChildren(any, ...wanted.map((each) => make("option", { value: each }, each)));
    this.#showValue(name);
  }

  #showValue(name) {
    const control = this.form.elements[name];
    const value = this.values[name];
    if (control.value.trim() === value) return;
    control.value = value;
    if (control.value === value) return;
    // Not offered yet.
    control.append(make("option", { value }, name === "status" ? lookOf(value).label : value));
    control.value = value;
  }

  #changed(onChange = () => {}) {
    this.clearer.disabled = !this.active;
    onChange();
  }
}

function fitsStatus(sync, status) {
  if (status === "late") return Boolean(sync.late);
  if (status === "live") return !hasEnded(sync);
  if (status === "ended") return hasEnded(sync);
  return standing(sync) === status;
}
