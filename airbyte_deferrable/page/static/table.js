// A table that is brought up to date row by row: what a user has focused, marked, unfolded or scrolled to stays.
import { make, setAttribute, setText } from "./dom.js";

// So many rows at first, and more when they are asked for: all of two thousand would take seconds.
const STEP = 50;
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function compare(one, other) {
  return typeof one === "string" ? collator.compare(one, String(other)) : one - other;
}

const isNothing = (value) => value === null || value === undefined || value === "";

export class Table {
  /**
   * @param {HTMLTableElement} table with a head: each of its cells names its column in data-column
   * @param {Object} how
   * @param {Object<string, {value?: function(Object), cell: function(), kind?: string}>} how.columns by name, in the
   *   order of the head: what to sort by, and what makes a cell
   * @param {function(Object): string} how.key what a row is known by
   * @param {function(Object, Object): number} how.order of rows that are not sorted otherwise
   * @param {function(Object): string} [how.look] a row's class
   * @param {function()} [how.onChange] called when a user has sorted, or asked for more rows
   */
  constructor(table, { columns, key, order, look = () => "", onChange = () => {} }) {
    this.table = table;
    this.body = table.tBodies[0];
    this.heads = [...table.tHead.rows[0].cells];
    this.columns = columns;
    this.key = key;
    this.order = order;
    this.look = look;
    this.onChange = onChange;
    this.sort = "";
    this.items = [];
    this.rows = new Map();
    this.limit = STEP;
    for (const head of this.heads) this.#makeSortable(head);
    this.#addChoice();
    this.#addMore();
  }

  /** Sort by a column, "-" before its name for the largest first; "" for the order that rows have by themselves. */
  sortBy(sort) {
    this.sort = this.columns[sort.replace(/^-/, "")]?.value ? sort : "";
    for (const head of this.heads) {
      if (!head.querySelector("button")) continue;
      const { column } = head.dataset;
      const direction = { [column]: "ascending", [`-${column}`]: "descending" }[this.sort];
      setAttribute(head, "aria-sort", direction ?? "none");
    }
    this.choice.value = this.sort;
    this.#render();
  }

  /** Show these and no others. */
  show(items) {
    this.items = items;
    this.#render();
  }

  /** Begin at the first rows again. */
  fold() {
    this.limit = STEP;
  }

  /** How many rows there are to be seen. */
  get shown() {
    return Math.min(this.limit, this.items.length);
  }

  #makeSortable(head) {
    const { column } = head.dataset;
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const first = this.columns[column].first ?? "";
      const [one, other] = first === "-" ? [`-${column}`, column] : [column, `-${column}`];
      this.sortBy({ [one]: other, [other]: "" }[this.sort] ?? one);
      this.onChange();
    });
  }

  /** The same to choose from, where rows are cards and have no head. */
  #addChoice() {
    this.choice = make("select", {}, make("option", { value: "" }, "What needs attention"));
    for (const head of this.heads.filter((each) => each.querySelector("button"))) {
      const { column } = head.dataset;
      const name = head.textContent.trim();
      const [up, down] = this.columns[column].kind === "text" ? ["A to Z", "Z to A"] : ["lowest first", "highest first"];
      this.choice.append(
        make("option", { value: column }, `${name}, ${up}`),
        make("option", { value: `-${column}` }, `${name}, ${down}`),
      );
    }
    this.choice.addEventListener("change", () => {
      this.sortBy(this.choice.value);
      this.onChange();
    });
    this.table.before(make("label", { class: "sort-choice" }, "Sorted by ", this.choice));
  }

  #addMore() {
    this.step = make("button", { type: "button" });
    this.told = make("span");
    this.more = make("p", { class: "more" }, this.told, this.step);
    this.table.after(this.more);
    this.step.addEventListener("click", () => {
      const next = this.shown;
      this.limit += STEP;
      this.#render();
      // To where the new ones begin; the button may be gone.
      this.body.rows[next]?.querySelector("a[href], button")?.focus({ preventScroll: true });
      this.onChange();
    });
  }

  #sorted() {
    const name = this.sort.replace(/^-/, "");
    const { value } = this.columns[name] ?? {};
    if (!value) return [...this.items].sort(this.order);
    const sign = this.sort.startsWith("-") ? -1 : 1;
    return this.items
      .map((item) => [value(item), item])
      .sort(([one, first], [other, second]) => {
        // What is not known is last, whichever way.
        if (isNothing(one) || isNothing(other)) return isNothing(one) - isNothing(other) || this.order(first, second);
        return sign * compare(one, other) || this.order(first, second);
      })
      .map(([, item]) => item);
  }

  #render() {
    const items = this.#sorted().slice(0, this.limit);
    const keys = new Map(items.map((item) => [this.key(item), item]));
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const place = focused?.closest("tr").sectionRowIndex;
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    let next = this.body.firstElementChild;
    for (const [key, item] of keys) {
      let row = this.rows.get(key);
      if (!row) this.rows.set(key, (row = this.#makeRow()));
      row.update(item);
      if (row.element === next) next = next.nextElementSibling;
      else this.body.insertBefore(row.element, next);
    }
    if (focused && document.activeElement !== focused) this.#focusAgain(focused, place);
    this.table.hidden = !items.length;
    this.#tellMore();
  }

  /** A row that is moved loses the focus, and one that has ended is gone: the next one has its place. */
  #focusAgain(focused, place) {
    const row = this.body.rows[Math.min(place, this.body.rows.length - 1)];
    const target = focused.isConnected ? focused : row?.querySelector("a[href], button");
    target?.focus({ preventScroll: true });
  }

  #makeRow() {
    const element = make("tr", { role: "row" });
    const cells = this.heads.map((head, index) => {
      const { column, label } = head.dataset;
      const { cell } = this.columns[column];
      const made = cell();
      const attributes = index ? { role: "cell" } : { role: "rowheader", scope: "row" };
      const holder = make(index ? "td" : "th", { ...attributes, class: `column-${column}` }, ...made.nodes);
      if (label) holder.dataset.label = label;
      element.append(holder);
      return made;
    });
    return {
      element,
      update: (item) => {
        setAttribute(element, "class", this.look(item) || null);
        for (const cell of cells) cell.update(item);
      },
    };
  }

  #tellMore() {
    const { length } = this.items;
    const left = length - this.shown;
    this.more.hidden = left === 0;
    setText(this.told, `${this.shown} of ${length.toLocaleString("en")} are shown.`);
    setText(this.step, `Show ${Math.min(STEP, left)} more`);
  }
}
