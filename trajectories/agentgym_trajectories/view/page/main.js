"use strict";
// The page: panes beside the list, addresses, keys, and what is new while a run is being made.

ag.LIVE = 2000; // milliseconds between two looks at a run

// ---- addresses: what is shown stands behind the # and can be kept as a bookmark ------------------------------------------------

ag.address = (main, beside) => {
  const parts = { p: main.part, e: main.id, leaf: main.leaf, view: main.view };
  if (beside) parts.with = [beside.part, beside.id, beside.leaf ?? "", beside.view ?? ""].join(",");
  return `#${new URLSearchParams(Object.entries(parts).filter(([, v]) => v !== undefined && v !== ""))}`;
};

ag.addressed = () => {
  const found = new URLSearchParams(location.hash.slice(1));
  const number = (text) => (text === null || text === "" || text === undefined ? undefined : Number(text));
  const [part, id, leaf, view] = (found.get("with") ?? "").split(",");
  return {
    main: found.has("e") ? { part: number(found.get("p")) ?? 0, id: number(found.get("e")), leaf: number(found.get("leaf")), view: found.get("view") ?? undefined } : null,
    beside: id ? { part: number(part), id: number(id), leaf: number(leaf), view: view || undefined } : null,
  };
};

ag.go = (main, beside) => {
  const address = ag.address(main, beside);
  if (address === location.hash) ag.show();
  else location.hash = address;
};

/** Show an episode beside the one that is open. */
ag.beside = (other) => ag.go({ ...other }, ag.now.main);
ag.both = (left, right) => ag.go({ ...right, view: "conversation" }, left);

// ---- one episode ---------------------------------------------------------------------------------------------------------------

ag.VIEWS = { conversation: "Conversation", tokens: "Tokens", tree: "Tree", details: "Details" };

ag.Pane = class {
  constructor(pinned) {
    this.pinned = pinned;
    this.head = ag.el("div", { class: "head" });
    this.body = ag.el("div", { class: "body", tabIndex: -1 });
    this.element = ag.el("section", { class: `pane ${pinned ? "pinned" : ""}` }, this.head, this.body);
  }

  async show(target, same) {
    this.target = target;
    const asked = (this.asked = {});
    try {
      if (!this.episode || this.episode.source.id !== target.id || this.episode.source.part !== target.part) {
        const outline = await ag.get(`${target.part}/episode/${target.id}`);
        if (this.asked !== asked) return;
        this.episode = { outline, source: { part: target.part, id: target.id }, tree: outline.broken ? null : new ag.Tree(outline) };
      }
      await this.fill(asked, same);
    } catch (error) {
      this.episode = null;
      this.body.replaceChildren(ag.failed(error));
    }
  }

  async fill(asked, same) {
    const { episode, target } = this;
    if (!episode.tree) {
      this.head.replaceChildren(ag.el("h2", {}, `Episode ${target.id}`));
      const { raw, length } = episode.outline;
      this.body.replaceChildren(ag.failed(`This record is damaged (${episode.outline.broken}). It stands in the store like this:`), ag.text(raw, episode.source, "raw"),
        length > raw.length ? ag.el("p", { class: "dim" }, `the first ${ag.count(raw.length)} of ${ag.count(length)} characters`) : "");
      return;
    }
    this.leaf = target.leaf !== undefined && episode.tree.nodes.action[target.leaf] ? target.leaf : episode.tree.best;
    this.view = target.view && ag.VIEWS[target.view] ? target.view : "conversation";
    if (this.view === "tree" && !episode.tree.searched) this.view = "conversation";
    this.header();
    const made = await this.make(same);
    if (this.asked !== asked) return;
    this.turns = made.turns;
    this.body.className = `body shows-${this.view}`;
    this.body.replaceChildren(made.element);
    this.body.scrollTop = 0;
  }

  async make(same) {
    const { episode, leaf } = this;
    if (this.view === "tokens") return { element: await ag.tokens(episode, leaf) };
    if (this.view === "tree") return { element: new ag.TreeView(episode, (to) => this.turn({ leaf: to, view: "conversation" })).element };
    if (this.view === "details") return { element: ag.details(episode) };
    return ag.conversation(episode, leaf, same);
  }

  header() {
    const { outline: o, tree } = this.episode;
    const views = Object.entries(ag.VIEWS).filter(([name]) => name !== "tree" || tree.searched);
    const tabs = views.map(([name, title]) => {
      const tab = ag.button(title, "", () => this.turn({ view: name }));
      tab.setAttribute("aria-pressed", String(name === this.view));
      return tab;
    });
    this.head.replaceChildren(
      ag.el("h2", {}, ag.outcome(tree.nodes.success[this.leaf]), " ", ag.el("span", { title: o.task.id }, ag.brief(o.task.id, 80)), ag.el("span", { class: "dim" }, ` ${o.env} · ${o.version} #${o.sample}`)),
      ag.el("div", { class: "tools" }, ...tabs, this.paths(), ag.el("span", { class: "grow" }),
        this.pinned ? ag.button("✕", "Close this side ( c )", () => ag.go(ag.now.main)) : ag.button("Compare", "Keep this one at the left, and choose another ( c )", () => ag.pin(), ag.now.beside ? "on" : "")),
    );
  }

  /** The paths of a tree, the best first. */
  paths() {
    const { tree } = this.episode;
    if (tree.leaves.length < 2) return null;
    const ordered = [...tree.leaves].sort((a, b) => tree.earned[b] - tree.earned[a] || a - b).slice(0, 500);
    if (!ordered.includes(this.leaf)) ordered.unshift(this.leaf);
    const name = (leaf) => `${leaf === tree.best ? "★ " : ""}to ${leaf}: ${ag.real(tree.earned[leaf], 2)}${tree.nodes.success[leaf] ? " ✓" : ""}${tree.children[leaf].length ? " …" : ""}`;
    const select = ag.el("select", { title: "Path", "aria-label": "Path", on: { change: () => this.turn({ leaf: Number(select.value) }) } }, ...ordered.map((leaf) => ag.el("option", { value: leaf }, name(leaf))));
    select.value = this.leaf;
    return select;
  }

  /** Another view or path of the same episode. */
  turn(change) {
    const target = { ...this.target, leaf: this.leaf, view: this.view, ...change };
    if (this.pinned) ag.go(ag.now.main, target);
    else ag.go(target, ag.now.beside);
  }
};

/** Keep what is open at the left, and choose another beside it; or end that. */
ag.pin = () => {
  if (ag.now.main) ag.go(ag.now.main, ag.now.beside ? undefined : ag.now.main);
};

/** Show what the address says. */
ag.show = async () => {
  ag.now = ag.addressed();
  const { main, beside } = ag.now;
  document.body.classList.toggle("open", Boolean(main));
  document.body.classList.toggle("compared", Boolean(beside));
  if (!main) return ag.panes.replaceChildren(ag.el("p", { class: "empty" }, "Choose an episode: j and k go through the list, ? shows all keys."));
  if (ag.list.part !== main.part) await ag.turnTo(main.part);
  if (ag.list.chosen !== main.id) await ag.list.follow(main.id);
  ag.panes.replaceChildren(...(beside ? [ag.left.element] : []), ag.right.element);
  if (beside) await ag.left.show(beside);
  if (ag.now.main !== main) return null; // something else was chosen meanwhile
  return ag.right.show(main, beside && ag.left.view === "conversation" ? ag.left.turns : undefined);
};

// ---- the bar and the keys ------------------------------------------------------------------------------------------------------

ag.KEYS = {
  "j, k": "next and previous episode", "Home, End": "first and last episode", "1 2 3 4": "conversation, tokens, tree, details", "[ ]": "previous and next path of a tree",
  "/": "search", c: "compare: keep this one, choose another", e: "fold or unfold everything", l: "follow a run that goes on", d: "dark or light", Esc: "leave a field, close",
  "in a tree": "arrows move, Enter reads the path, Space folds, f fits, h is the end of the chosen path", "?": "this help",
};

ag.help = () => {
  const dialog = document.getElementById("help");
  dialog.replaceChildren(ag.el("h2", {}, "Keys"), ag.el("table", {}, ...Object.entries(ag.KEYS).map(([k, what]) => ag.el("tr", {}, ag.el("td", {}, ag.el("kbd", {}, k)), ag.el("td", {}, what)))),
    ag.button("Close", "Esc", () => dialog.close()));
  dialog.showModal();
};

ag.unfold = () => {
  const folds = [...document.querySelectorAll(".pane .conversation details")];
  const open = folds.some((f) => !f.open);
  for (const fold of folds) fold.open = open;
};

ag.nextPath = (by) => {
  const { episode, leaf } = ag.right;
  if (!episode?.tree) return;
  const { leaves } = episode.tree;
  ag.right.turn({ leaf: leaves[(leaves.indexOf(leaf) + by + leaves.length) % leaves.length] });
};

ag.pressed = (event) => {
  const field = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && field) field.blur();
  if (field || event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
  const views = Object.keys(ag.VIEWS);
  const act = {
    j: () => ag.list.step(1), ArrowDown: () => ag.list.step(1), k: () => ag.list.step(-1), ArrowUp: () => ag.list.step(-1), Home: () => ag.list.choose(0), End: () => ag.list.choose(ag.list.total - 1),
    "/": () => ag.list.controls.elements.task.focus(), c: ag.pin, e: ag.unfold, d: ag.shade, l: ag.follow, "?": ag.help, "[": () => ag.nextPath(-1), "]": () => ag.nextPath(1),
    Escape: () => (ag.now.beside ? ag.go(ag.now.main) : (location.hash = "")),
  }[event.key] ?? (views[event.key - 1] && ag.now.main ? () => ag.right.turn({ view: views[event.key - 1] }) : null);
  if (!act) return;
  event.preventDefault();
  act();
};

ag.shade = () => ag.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

ag.follow = () => {
  ag.following = !ag.following && !ag.exported;
  ag.live.setAttribute("aria-pressed", String(ag.following));
};

ag.bar = (run) => {
  document.title = `${run.name} · agentgym`;
  ag.parts = ag.el("select", { title: "Part of the run", "aria-label": "Part of the run", on: { change: () => { location.hash = ""; ag.turnTo(Number(ag.parts.value)); } } });
  ag.live = ag.button("● live", "Follow a run that goes on ( l )", () => ag.follow(), "live");
  document.getElementById("bar").replaceChildren(ag.el("strong", {}, "agentgym"), ag.el("span", { class: "run" }, run.name), ag.parts, ag.el("span", { class: "grow" }), run.live ? ag.live : ag.el("span", { class: "dim" }, "export"),
    ag.button("◐", "Dark or light ( d )", ag.shade), ag.button("?", "Keys", ag.help));
  ag.name(run);
};

/** Name the parts of a run; more may come. */
ag.name = (run) => {
  ag.parts.replaceChildren(...run.parts.map((p, i) => ag.el("option", { value: i }, p.name)));
  ag.parts.value = ag.list.part ?? 0;
  ag.parts.hidden = run.parts.length < 2;
  ag.run = run;
};

ag.turnTo = async (part) => {
  ag.list.chosen = null;
  ag.parts.value = part;
  await ag.list.turnTo(part);
};

/** Look whether anything is new. */
ag.look = async () => {
  if (!ag.following || document.hidden) return;
  const run = await ag.get("run").catch(() => null);
  ag.live.classList.toggle("lost", !run);
  if (!run) return;
  const before = ag.run;
  if (run.parts.map((p) => p.name).join() !== before.parts.map((p) => p.name).join()) {
    const part = run.parts.findIndex((p) => p.name === before.parts[ag.list.part].name);
    ag.list.part = part;
    ag.name(run);
  }
  ag.run = run;
  const [now, then] = [run.parts[ag.list.part], before.parts.find((p) => p.name === run.parts[ag.list.part].name)];
  if (now.mark !== then?.mark && !ag.list.filters.text) await ag.list.refresh();
};

ag.begin = async () => {
  ag.panes = document.getElementById("panes");
  ag.list = new ag.List(document.getElementById("list"), (row) => ag.go({ part: ag.list.part, id: row.id, view: ag.right.view }, ag.now.beside));
  ag.left = new ag.Pane(true);
  ag.right = new ag.Pane(false);
  ag.now = ag.addressed();
  const run = await ag.get("run");
  ag.bar(run);
  document.addEventListener("keydown", ag.pressed);
  addEventListener("hashchange", ag.show);
  await ag.turnTo(ag.now.main?.part ?? 0);
  await ag.show();
  if (run.live) {
    ag.follow();
    setInterval(ag.look, ag.LIVE);
  }
  document.body.dataset.ready = Math.round(performance.now());
};

ag.begin().catch((error) => ag.panes.replaceChildren(ag.failed(error)));
