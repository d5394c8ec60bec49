"use strict";
// A search tree on a canvas: what is out of sight is not drawn, branches fold, and thousands of actions stay quick.

ag.ACROSS = 168; // pixels between an action and the next
ag.DOWN = 24; // pixels between paths
ag.CLEAR = 0.85; // of their size, at which labels can be read

ag.TreeView = class {
  /** `episode` has a tree; `open(leaf)` shows the path to an action. */
  constructor(episode, open) {
    this.episode = episode;
    this.tree = episode.tree;
    this.open = open;
    this.folded = new Set();
    this.chosen = new Set(this.tree.best >= 0 ? this.tree.path(this.tree.best) : []);
    this.at = this.tree.best >= 0 ? this.tree.best : this.tree.roots[0];
    const values = this.tree.actions.filter((i) => this.tree.nodes.visits[i]).map((i) => this.tree.nodes.value[i]);
    [this.low, this.high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    this.paired = new Map(); // action -> pairs that it is part of
    for (const pair of episode.outline.pairs) {
      for (const [id, leaf] of [[pair.chosen, pair.chosen_leaf], [pair.rejected, pair.rejected_leaf]]) {
        if (id === episode.outline.id) this.paired.set(leaf, [...(this.paired.get(leaf) ?? []), pair]);
      }
    }
    this.canvas = ag.el("canvas", { tabIndex: 0, role: "img", "aria-label": `Tree of ${this.tree.actions.length} actions`, on: {
      wheel: (e) => this.wheel(e), pointerdown: (e) => this.press(e), pointermove: (e) => this.move(e), pointerup: (e) => this.release(e),
      dblclick: () => this.open(this.at), keydown: (e) => this.key(e) } });
    this.side = ag.el("aside", { class: "side" });
    this.element = ag.el("div", { class: "treeview" }, ag.el("div", { class: "tools" },
      ag.button("Fit", "The whole tree ( f )", () => this.fit()), ag.button("Chosen path", "Go to the end of the path that earned most ( h )", () => this.pick(this.tree.best)),
      this.leave = ag.button("Hide roll-outs", "Fold what simulations played beyond the tree", () => this.hide()),
      ag.el("span", { class: "legend" }, ag.el("i", { class: "low" }), `Q ${ag.real(this.low, 2)}`, ag.el("i", { class: "high" }), `Q ${ag.real(this.high, 2)}`, ag.el("i", { class: "path" }), "chosen path",
        ag.el("i", { class: "chosen" }), "chosen in a pair", ag.el("i", { class: "rejected" }), "rejected")), ag.el("div", { class: "stage" }, this.canvas, this.side));
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(this.canvas);
    this.themed = () => this.canvas.isConnected && this.draw();
    document.addEventListener("themed", this.themed);
    this.place();
  }

  // ---- where everything is -----------------------------------------------------------------------------------------------------

  /** Give each action that no fold hides its place: depth to the right, paths below each other, a parent beside the middle. */
  place() {
    const { children, roots } = this.tree;
    const shown = (i) => (this.folded.has(i) ? [] : children[i]);
    this.x = new Map();
    this.y = new Map();
    let row = 0;
    const stack = roots.map((i) => [i, 0, false]).reverse();
    while (stack.length) {
      const [i, depth, done] = stack.pop();
      const below = shown(i);
      if (done || !below.length) {
        this.x.set(i, depth * ag.ACROSS);
        this.y.set(i, below.length ? (this.y.get(below[0]) + this.y.get(below[below.length - 1])) / 2 : row++ * ag.DOWN);
      } else {
        stack.push([i, depth, true]);
        for (let k = below.length - 1; k >= 0; k--) stack.push([below[k], depth + 1, false]);
      }
    }
    this.height = Math.max(1, row) * ag.DOWN;
    this.width = Math.max(...this.x.values(), 0) + ag.ACROSS;
    const first = [...roots].filter((i) => this.y.has(i));
    this.start = first.length ? (this.y.get(first[0]) + this.y.get(first[first.length - 1])) / 2 : 0; // of the task itself
    this.visible = [...this.x.keys()];
  }

  /** Half the width of an action's mark: the more visits, the greater. */
  size(i) {
    return 4 + 5 * Math.sqrt(this.tree.nodes.visits[i] / this.tree.visits);
  }

  hidden(i) {
    let count = 0;
    const stack = [...this.tree.children[i]];
    while (stack.length) {
      count++;
      stack.push(...this.tree.children[stack.pop()]);
    }
    return count;
  }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (!w || !h) return;
    this.ratio = devicePixelRatio || 1;
    this.canvas.width = w * this.ratio;
    this.canvas.height = h * this.ratio;
    if (this.scale) this.draw();
    else this.fit(ag.CLEAR);
  }

  /** See all of it, unless it would be smaller than `least`: then its beginning, or where the chosen path is. */
  fit(least = 0) {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    this.scale = Math.max(least, Math.min(1.2, (w - 20) / (this.width + 90), (h - 20) / (this.height + 20)));
    const whole = this.height * this.scale <= h;
    this.left = 70 * this.scale + 10;
    this.top = whole ? (h - this.height * this.scale) / 2 + (ag.DOWN / 2) * this.scale : h / 2 - (this.y.get(this.at) ?? this.start) * this.scale;
    this.draw();
    if (!this.side.hasChildNodes()) this.pick(this.at, false);
  }

  // ---- drawing -----------------------------------------------------------------------------------------------------------------

  draw() {
    const began = performance.now();
    const c = this.canvas.getContext("2d");
    const look = getComputedStyle(document.documentElement);
    const colour = (name) => look.getPropertyValue(`--${name}`).trim();
    const ink = { line: colour("edge"), text: colour("text"), dim: colour("dim"), path: colour("accent"), good: colour("good"), bad: colour("bad"), back: colour("back"), none: colour("none") };
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    c.translate(this.left, this.top);
    c.scale(this.scale, this.scale);
    const [l, t] = [-this.left / this.scale, -this.top / this.scale];
    const [r, b] = [l + this.canvas.clientWidth / this.scale, t + this.canvas.clientHeight / this.scale];
    this.edges(c, ink, l, t, r, b);
    const near = this.visible.filter((i) => this.x.get(i) > l - ag.ACROSS && this.x.get(i) < r + 20 && this.y.get(i) > t - 20 && this.y.get(i) < b + 20);
    c.beginPath();
    c.fillStyle = ink.dim;
    c.arc(-60, this.start, 5, 0, 7);
    c.fill();
    for (const i of near) this.dot(c, ink, i);
    if (this.scale > 0.4) for (const i of near) this.label(c, ink, i);
    Object.assign(this.canvas.dataset, { drawn: near.length, nodes: this.visible.length, ms: Math.round(performance.now() - began) });
  }

  edges(c, ink, l, t, r, b) {
    for (const onPath of [false, true]) {
      c.strokeStyle = onPath ? ink.path : ink.line;
      c.lineWidth = (onPath ? 2.5 : 1) / Math.min(1, Math.max(this.scale, 0.3));
      c.beginPath();
      for (const i of this.visible) {
        if (this.chosen.has(i) !== onPath) continue;
        const above = this.tree.above[i];
        const [x0, y0, x1, y1] = [above >= 0 ? this.x.get(above) : -60, above >= 0 ? this.y.get(above) : this.start, this.x.get(i), this.y.get(i)];
        if (x1 < l || x0 > r || Math.max(y0, y1) < t || Math.min(y0, y1) > b) continue;
        c.moveTo(x0, y0);
        const bend = x1 - ag.ACROSS * 0.18;
        c.lineTo(bend - ag.ACROSS * 0.1, y0);
        c.lineTo(bend, y1);
        c.lineTo(x1, y1);
      }
      c.stroke();
    }
  }

  dot(c, ink, i) {
    const n = this.tree.nodes;
    const [x, y] = [this.x.get(i), this.y.get(i)];
    const size = this.size(i);
    const q = this.high > this.low && n.visits[i] ? (n.value[i] - this.low) / (this.high - this.low) : null;
    c.fillStyle = q === null ? ink.none : `hsl(${Math.round(8 + 132 * q)} 62% 48%)`;
    c.beginPath();
    if (n.end[i]) c.rect(x - size, y - size, 2 * size, 2 * size);
    else c.arc(x, y, size, 0, 7);
    c.fill();
    if (n.end[i] && n.success[i]) {
      c.strokeStyle = ink.back;
      c.lineWidth = 2;
      c.beginPath();
      c.moveTo(x - size * 0.55, y);
      c.lineTo(x - size * 0.1, y + size * 0.45);
      c.lineTo(x + size * 0.6, y - size * 0.5);
      c.stroke();
    }
    const pairs = this.paired.get(i);
    if (pairs) {
      const better = pairs.some((p) => p.chosen === this.episode.outline.id && p.chosen_leaf === i);
      c.strokeStyle = better ? ink.good : ink.bad;
      c.lineWidth = 2.5;
      c.beginPath();
      c.arc(x, y, size + 4.5, 0, 7);
      c.stroke();
    }
    if (i === this.at) {
      c.strokeStyle = ink.text;
      c.lineWidth = 2;
      c.strokeRect(x - size - 6, y - size - 6, 2 * size + 12, 2 * size + 12);
    }
  }

  label(c, ink, i) {
    const n = this.tree.nodes;
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    c.fillStyle = this.chosen.has(i) || i === this.at ? ink.text : ink.dim;
    const size = this.size(i);
    const told = n.visits[i] ? `${ag.real(n.value[i], 2)}·${n.visits[i]}  ` : "";
    const end = this.folded.has(i) ? `  +${this.hidden(i)}` : "";
    const room = 20 - told.length - end.length;
    const label = n.label[i].replace(/\s+/g, " ");
    c.fillText(told + (label.length > room ? `${label.slice(0, room)}…` : label) + end, this.x.get(i) + size + 8, this.y.get(i) - 8, ag.ACROSS - 30);
  }

  // ---- moving about ------------------------------------------------------------------------------------------------------------

  wheel(event) {
    event.preventDefault();
    const factor = Math.exp(-event.deltaY * 0.0015);
    const scale = Math.min(3, Math.max(0.01, this.scale * factor));
    this.left = event.offsetX - ((event.offsetX - this.left) * scale) / this.scale;
    this.top = event.offsetY - ((event.offsetY - this.top) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  press(event) {
    this.held = { x: event.clientX, y: event.clientY, left: this.left, top: this.top, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.held) return;
    const [dx, dy] = [event.clientX - this.held.x, event.clientY - this.held.y];
    if (Math.abs(dx) + Math.abs(dy) > 4) this.held.moved = true;
    if (this.held.moved) {
      this.left = this.held.left + dx;
      this.top = this.held.top + dy;
      this.draw();
    }
  }

  release(event) {
    const held = this.held;
    this.held = null;
    if (!held || held.moved) return;
    const [x, y] = [(event.offsetX - this.left) / this.scale, (event.offsetY - this.top) / this.scale];
    let found = -1;
    let nearest = (14 / Math.min(1, this.scale)) ** 2;
    for (const i of this.visible) {
      const far = (this.x.get(i) - x) ** 2 + (this.y.get(i) - y) ** 2;
      if (far < nearest) [found, nearest] = [i, far];
    }
    if (found >= 0) this.pick(found, false);
  }

  key(event) {
    const { tree, at } = this;
    const siblings = tree.above[at] >= 0 ? tree.children[tree.above[at]] : tree.roots;
    const to = {
      ArrowLeft: () => tree.above[at], ArrowRight: () => (this.folded.has(at) ? at : tree.children[at][0]),
      ArrowUp: () => siblings[siblings.indexOf(at) - 1], ArrowDown: () => siblings[siblings.indexOf(at) + 1],
    }[event.key];
    const act = { f: () => this.fit(), h: () => this.pick(tree.best), Enter: () => this.open(at), " ": () => this.fold(at) }[event.key];
    if (!to && !act) return;
    event.preventDefault();
    event.stopPropagation();
    if (act) act();
    else if ((to() ?? -1) >= 0) this.pick(to());
  }

  fold(i) {
    if (!this.tree.children[i].length) return;
    if (!this.folded.delete(i)) this.folded.add(i);
    this.place();
    this.draw();
  }

  /** Fold below every action that ends the tree proper: what comes after it was played only to estimate it. */
  hide() {
    const n = this.tree.nodes;
    const ends = this.tree.actions.filter((i) => n.visits[i] && this.tree.children[i].length && this.tree.children[i].every((k) => !n.visits[k]));
    const all = ends.every((i) => this.folded.has(i));
    for (const i of ends) if (all) this.folded.delete(i); else this.folded.add(i);
    this.leave.setAttribute("aria-pressed", String(!all && ends.length > 0));
    if (!this.y.has(this.at)) this.at = this.tree.roots[0];
    this.place();
    if (!this.y.has(this.at)) this.at = this.tree.roots[0];
    this.fit(ag.CLEAR);
  }

  /** Select an action, unfold what hides it, and bring it into sight. */
  async pick(i, follow = true) {
    if (i === undefined || i < 0) return;
    this.at = i;
    let hidden = false;
    for (let above = this.tree.above[i]; above >= 0; above = this.tree.above[above]) hidden = this.folded.delete(above) || hidden;
    if (hidden) this.place();
    const [x, y] = [this.x.get(i) * this.scale + this.left, this.y.get(i) * this.scale + this.top];
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (follow && (x < 20 || x > w - 120 || y < 20 || y > h - 20)) {
      this.left += w / 2 - x;
      this.top += h / 2 - y;
    }
    this.draw();
    await this.tell(i);
  }

  async tell(i) {
    const { nodes: n } = this.tree;
    const said = await ag.contents("nodes", this.episode.source, [i]);
    if (this.at !== i) return;
    const fact = (name, value) => ag.el("tr", {}, ag.el("th", {}, name), ag.el("td", {}, value));
    const mine = { part: this.episode.source.part, id: this.episode.outline.id };
    const pair = (p) => {
      const better = p.chosen === mine.id && p.chosen_leaf === i;
      return ag.el("div", { class: "pair" }, ag.badge(better ? "good" : "bad", better ? "chosen" : "rejected"), ` ${p.name} #${this.episode.outline.pairs.indexOf(p)}, margin ${ag.real(p.margin)}. ${p.reason} `,
        p.dropped ? ag.badge("none", "dropped", p.dropped) : null,
        ag.button("side by side", "Chosen and rejected side by side", () => ag.both({ part: mine.part, id: p.chosen, leaf: p.chosen_leaf }, { part: mine.part, id: p.rejected, leaf: p.rejected_leaf })));
    };
    this.side.dataset.action = i; // whose facts these are: keys may be ahead of them
    this.side.replaceChildren(
      ag.el("table", { class: "facts" }, fact("Q", n.visits[i] ? ag.real(n.value[i], 4) : "not visited"), fact("N", `${n.visits[i]} of ${this.tree.visits}`),
        ...(n.rank[i] === null ? [] : [fact("rank", ag.real(n.rank[i], 3))]), fact("reward", `${ag.real(n.reward[i])}, ${ag.real(this.tree.earned[i])} so far`),
        fact("tokens", `${n.tokens[i] ?? "–"}${n.spent[i] ? `, and ${n.spent[i]} merged` : ""}`), ...(n.end[i] ? [fact("end", `${n.end[i]}${n.success[i] ? ", solved" : ""}`)] : [])),
      ...(this.paired.get(i) ?? []).map(pair),
      ...ag.turn(this.episode, i, said[i]),
      ag.el("div", { class: "tools" }, ag.button("Read the path to here", "Enter", () => this.open(i)), this.tree.children[i].length ? ag.button(this.folded.has(i) ? "Unfold" : "Fold", "Space", () => this.fold(i)) : null));
  }
};
