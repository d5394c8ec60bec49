"use strict";
// The list of episodes: filters, a search, and rows that exist only while they are in sight.

ag.ROW = 54; // pixels
ag.PAGE = 100; // episodes that the server gives at once
ag.RANGES = ["reward", "tokens", "turns", "errors", "seconds"];

ag.List = class {
  /** `open(row, index)` is called when an episode is chosen. */
  constructor(box, open) {
    this.open = open;
    this.filters = {};
    this.index = -1;
    this.chosen = null;
    this.asked = 0; // questions so far: answers to older ones are not wanted any more
    this.controls = ag.el("form", { class: "filters", autocomplete: "off", on: { submit: (e) => e.preventDefault() } });
    this.told = ag.el("div", { class: "told", "aria-live": "polite" });
    this.sizer = ag.el("div", { class: "sizer" });
    this.scroller = ag.el("div", { class: "rows", tabIndex: 0, role: "listbox", "aria-label": "Episodes", on: { scroll: () => this.draw() } }, this.sizer);
    box.replaceChildren(this.controls, this.told, this.scroller);
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  // ---- filters ---------------------------------------------------------------------------------------------------------------

  /** Show another part of the run. */
  async turnTo(part) {
    this.part = part;
    this.filters = {};
    const asked = this.ask();
    this.build(await ag.get(`${part}/facets`));
    await asked;
  }

  build(facets) {
    this.offered = JSON.stringify(facets);
    const change = ag.calm(() => this.read());
    const now = () => this.read();
    const select = (name, title, entries, always = false) => {
      if (!always && entries.length < 2) return null;
      const options = entries.map(([value, label, n]) => ag.el("option", { value }, n === undefined ? label : `${label} (${ag.count(n)})`));
      return ag.el("select", { name, title, "aria-label": title, on: { change: now } }, ...options);
    };
    const facet = (name, title, any) => {
      const found = (facets[name] ?? []).filter(([v]) => v !== "");
      return select(name, title, found.length > 1 ? [["", any], ...found.map(([v, n]) => [v, v, n])] : []);
    };
    const tags = [...(facets.selection ?? []).map(([v, n]) => [`selection ${v}`, `selected: ${v}`, n]), ...(facets.pairs ?? []).map(([v]) => [`pairs ${v}`, `in pairs: ${v}`])];
    const range = (name) => ag.el("label", { class: "range" }, ag.el("span", {}, name),
      ...["min", "max"].map((end) => ag.el("input", { name: `${name}_${end}`, type: "number", step: "any", placeholder: end, "aria-label": `${end} ${name}`, on: { input: change } })));
    this.controls.replaceChildren(...[
      ag.el("input", { name: "task", type: "search", placeholder: "Task id  ( / )", "aria-label": "Task id", on: { input: change } }),
      ag.el("input", { name: "text", type: "search", placeholder: ag.exported ? "Words in the task" : "Words in the conversation", "aria-label": "Words", on: { input: ag.calm(() => this.read(), 350) } }),
      facet("env", "Environment", "all environments"),
      facet("version", "Version of the policy", "all policies"),
      select("success", "Success", [["", "solved or not"], ["1", "solved"], ["0", "not solved"]]),
      select("mistake", "Mistakes", [["", "mistakes or not"], ["none", "no mistakes"], ["any", "with mistakes"], ...(facets.mistake ?? []).map(([v, n]) => [v, v, n])]),
      tags.length ? select("tag", "Selections and pairs", [["", "all tags"], ...tags]) : null,
      ag.fold("More filters", () => [facet("split", "Split", "all splits"), facet("difficulty", "Difficulty", "all difficulties"), facet("stop", "End", "all ends"),
        ...ag.RANGES.map(range)].filter(Boolean), false, "wide"),
      ag.el("span", { class: "order" }, select("sort", "Order", [["", "newest"], ...["reward", "tokens", "turns", "errors", "seconds", "task", "version"].map((v) => [v, `by ${v}`])]),
        this.up = ag.button("↓", "Turn the order round", () => { this.rising = !this.rising; this.up.textContent = this.rising ? "↑" : "↓"; this.read(); })),
      ag.button("Clear", "Take all filters away", () => { this.controls.reset(); this.read(); }, "quiet"),
    ].filter(Boolean));
    this.failures = (facets.failures ?? []).reduce((sum, [, n]) => sum + n, 0);
    if (this.found) this.tell(this.found);
  }

  /** Something new was written: show it, and keep what is chosen and filled in. */
  async refresh() {
    const facets = await ag.get(`${this.part}/facets`);
    if (JSON.stringify(facets) !== this.offered && !this.controls.contains(document.activeElement)) {
      const given = Object.fromEntries(new FormData(this.controls));
      const open = this.controls.querySelector("details")?.open;
      this.build(facets);
      if (open) this.controls.querySelector("details").open = true;
      for (const [name, value] of Object.entries(given)) if (this.controls.elements[name]) this.controls.elements[name].value = value;
    }
    await this.ask(this.index >= 0);
  }

  /** Choose an episode that was named from elsewhere. */
  async follow(id) {
    this.chosen = id;
    this.settle();
    if (this.index >= 0) this.draw();
    else await this.ask(true);
  }

  read() {
    const { tag, ...filters } = Object.fromEntries(new FormData(this.controls));
    if (tag) filters[tag.split(" ", 1)[0]] = tag.slice(tag.indexOf(" ") + 1);
    if (this.rising) filters.up = "1";
    this.filters = filters;
    this.scroller.scrollTop = 0;
    this.ask();
  }

  // ---- rows ------------------------------------------------------------------------------------------------------------------

  /** Ask again; what is in sight stays until the answer comes. `follow`: stay with the episode that is chosen, wherever it is now. */
  async ask(follow = false) {
    const asked = ++this.asked;
    this.began = performance.now();
    try {
      if (this.filters.text && !ag.exported) return await this.search(asked);
      const first = Math.floor(this.scroller.scrollTop / ag.ROW / ag.PAGE);
      const found = await this.page(first, follow ? this.chosen : null);
      if (asked !== this.asked) return null;
      this.pages = new Map([[found.start / ag.PAGE, found.rows]]);
      this.total = found.total;
      if (follow && found.index >= 0) return this.reach(found);
      this.tell((this.found = found));
    } catch (error) {
      this.pages = new Map();
      this.total = 0;
      this.told.replaceChildren(ag.failed(error));
    }
    this.settle();
    return this.draw();
  }

  page(number, at = null) {
    const asked = { ...this.filters, from: number * ag.PAGE, at };
    return ag.exported ? ag.sift(this.part, asked) : ag.get(`${this.part}/list`, asked);
  }

  /** Show the chosen episode where it is now, at the same height if it was in sight. */
  reach(found) {
    const height = this.index >= 0 ? this.index * ag.ROW - this.scroller.scrollTop : -1;
    const inside = height >= 0 && height < this.scroller.clientHeight;
    this.index = found.index;
    this.tell((this.found = found));
    this.sizer.style.height = `${this.total * ag.ROW}px`;
    const top = this.index * ag.ROW;
    if (this.scroller.scrollTop > 0 || !inside) this.scroller.scrollTop = top - (inside ? height : this.scroller.clientHeight / 3);
    this.draw();
  }

  /** Look through the texts, piece by piece, and show what was found so far. */
  async search(asked) {
    const found = [];
    let next = 0;
    let of = 1;
    this.pages = new Map();
    while (next < of && found.length < 1000) {
      const piece = await ag.get(`${this.part}/search`, { ...this.filters, from: next });
      if (asked !== this.asked) return;
      ({ next, of } = piece);
      found.push(...piece.rows);
      this.total = found.length;
      for (let p = 0; p * ag.PAGE < found.length; p++) this.pages.set(p, found.slice(p * ag.PAGE, (p + 1) * ag.PAGE));
      const state = next < of && found.length < 1000 ? `looked through ${ag.count(next)} of ${ag.count(of)} …` : `in ${ag.count(next)} of ${ag.count(of)}`;
      this.told.replaceChildren(`${ag.plural(found.length, "episode")} found, ${state}`);
      this.settle();
      this.draw();
    }
  }

  tell(found) {
    const parts = [ag.plural(found.total, "episode"), `${ag.share(found.success)} solved`, `reward ${ag.real(found.reward)}`, `${ag.count(found.tokens)} tokens`];
    if (this.failures) parts.push(`${ag.count(this.failures)} failed attempts`);
    this.told.replaceChildren(...(found.total ? parts.map((p) => ag.el("span", {}, p)) : ["No episode is left by these filters."]));
  }

  /** The row at an index, if it is there. */
  at(index) {
    return this.pages?.get(Math.floor(index / ag.PAGE))?.[index % ag.PAGE];
  }

  /** Find the chosen episode again after the rows have changed. */
  settle() {
    this.index = -1;
    for (const [number, rows] of this.pages) {
      const found = rows.findIndex((r) => r.id === this.chosen);
      if (found >= 0) this.index = number * ag.PAGE + found;
    }
  }

  draw() {
    if (!this.pages) return;
    this.sizer.style.height = `${this.total * ag.ROW}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / ag.ROW) - 5);
    const last = Math.min(this.total, first + Math.ceil(this.scroller.clientHeight / ag.ROW) + 10);
    const lines = [];
    for (let i = first; i < last; i++) {
      const row = this.at(i);
      if (row) lines.push(this.line(row, i));
      else this.fetch(Math.floor(i / ag.PAGE));
    }
    this.sizer.replaceChildren(...lines);
    this.scroller.dataset.drawn = `${this.asked}`;
    this.scroller.dataset.ms = `${Math.round(performance.now() - this.began)}`;
  }

  async fetch(number) {
    if (this.pages.has(number)) return;
    const asked = this.asked;
    this.pages.set(number, []);
    const found = await this.page(number).catch(() => null);
    if (found && asked === this.asked) {
      this.pages.set(number, found.rows);
      this.draw();
    }
  }

  line(row, index) {
    const made = ag.el("div", { class: "row", role: "option", data: { id: row.id }, "aria-selected": String(row.id === this.chosen), on: { click: () => this.choose(index) } },
      ag.el("div", { class: "first" }, ag.outcome(row.success), ag.el("b", {}, row.task), row.sample ? ag.el("span", { class: "dim" }, `#${row.sample}`) : null,
        ag.el("span", { class: "grow" }), row.errors ? ag.badge("warn", `${row.errors} ⚠`, ag.plural(row.errors, "mistake")) : null, ag.el("span", { class: "number" }, ag.real(row.reward, 2))),
      ag.el("div", { class: "second" }, ...ag.policy(row.version), ag.el("span", {}, `${row.turns} turns`),
        row.tokens ? ag.el("span", {}, `${ag.count(row.tokens)} tok`) : null, ag.el("span", { class: "prompt" }, row.prompt ?? "")));
    made.style.transform = `translateY(${index * ag.ROW}px)`;
    return made;
  }

  /** Choose the episode at an index, once it is there, and bring it into sight. */
  async choose(index) {
    if (index < 0 || index >= this.total) return;
    if (!this.at(index)) await this.fetch(Math.floor(index / ag.PAGE));
    const row = this.at(index);
    if (!row) return;
    this.index = index;
    this.chosen = row.id;
    const top = index * ag.ROW;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    if (top + ag.ROW > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = top + ag.ROW - this.scroller.clientHeight;
    this.draw();
    this.open(row, index);
  }

  step(by) {
    return this.choose(Math.min(this.total - 1, Math.max(0, this.index + by)));
  }
};

/** What the server does for the list, over all rows of an export. */
ag.sift = async (part, asked) => {
  const all = (await ag.get(`${part}/list`)).rows;
  const text = (asked.text ?? "").toLowerCase();
  const kept = all.filter((row) =>
    ["env", "version", "split", "difficulty", "stop"].every((name) => !asked[name] || row[name] === asked[name])
    && (!asked.success || row.success === Number(asked.success))
    && (!asked.mistake || (asked.mistake === "none" ? !row.errors : asked.mistake === "any" ? row.errors : row.mistakes.includes(asked.mistake)))
    && (!asked.selection || row.selections.includes(asked.selection)) && (!asked.pairs || row.pairs.includes(asked.pairs))
    && row.task.toLowerCase().includes((asked.task ?? "").toLowerCase())
    && (!text || (row.prompt ?? "").toLowerCase().includes(text))
    && ag.RANGES.every((name) => (!asked[`${name}_min`] || row[name] >= Number(asked[`${name}_min`])) && (!asked[`${name}_max`] || row[name] <= Number(asked[`${name}_max`]))));
  const by = asked.sort || "id";
  const way = asked.up ? 1 : -1;
  kept.sort((a, b) => way * (a[by] < b[by] ? -1 : a[by] > b[by] ? 1 : 0) || b.id - a.id);
  const index = asked.at ? kept.findIndex((row) => row.id === asked.at) : -1;
  const start = asked.at ? Math.floor(Math.max(0, index) / ag.PAGE) * ag.PAGE : asked.from ?? 0;
  const sum = (name) => kept.reduce((total, row) => total + (row[name] ?? 0), 0);
  return {
    total: kept.length, success: kept.length ? sum("success") / kept.length : null, reward: kept.length ? sum("reward") / kept.length : null,
    tokens: sum("tokens"), index, start, rows: kept.slice(start, start + ag.PAGE),
  };
};
