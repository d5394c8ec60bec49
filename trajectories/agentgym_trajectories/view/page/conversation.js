"use strict";
// One trajectory read as a conversation: what was said, calls folded, rewards by part.

/** What the outline of an episode says of its tree, worked out once. */
ag.Tree = class {
  constructor(outline) {
    const n = outline.nodes;
    this.nodes = n;
    this.count = n.parent.length;
    this.above = n.parent.map((_, i) => this.actionAbove(i)); // the action before each node; -1 at the beginning
    this.children = n.parent.map(() => []);
    this.roots = []; // actions without an action before them
    this.earned = n.parent.map(() => 0); // the rewards up to each action
    this.actions = [];
    for (let i = 0; i < this.count; i++) {
      if (!n.action[i]) continue;
      this.actions.push(i);
      const above = this.above[i];
      this.earned[i] = (above >= 0 ? this.earned[above] : 0) + (n.reward[i] ?? 0);
      (above >= 0 ? this.children[above] : this.roots).push(i);
    }
    this.leaves = this.actions.filter((i) => !this.children[i].length);
    // The path that earned most counts, as in the store; it is the one that a search chose.
    this.best = this.leaves.reduce((best, i) => (best < 0 || this.earned[i] > this.earned[best] ? i : best), -1);
    this.searched = n.visits.some((v) => v > 0) || this.leaves.length > 1;
    this.visits = Math.max(1, ...n.visits);
  }

  actionAbove(i) {
    const n = this.nodes;
    let at = i;
    do at = n.parent[at] >= 0 ? n.parent[at] : n.continues[at]; while (at >= 0 && !n.action[at]);
    return at;
  }

  /** The nodes from the beginning to an action, across rewritten histories. */
  path(leaf) {
    const found = [];
    for (let at = leaf; at >= 0; at = this.nodes.parent[at] >= 0 ? this.nodes.parent[at] : this.nodes.continues[at]) found.push(at);
    return found.reverse();
  }
};

/** The contents of some nodes, asked for in pieces that fit into an address. */
ag.contents = async (what, source, ids) => {
  const found = {};
  for (let i = 0; i < ids.length; i += 200) Object.assign(found, await ag.get(`${source.part}/${what}/${source.id}`, { ids: ids.slice(i, i + 200).join(",") }));
  return found;
};

/** The conversation up to a leaf, as an element. `same`: turns as JSON of another trajectory that this one is beside. */
ag.conversation = async (episode, leaf, same) => {
  const { tree, source } = episode;
  const path = tree.path(leaf);
  const said = await ag.contents("nodes", source, path);
  const turns = path.map((i) => JSON.stringify(said[i].messages));
  const parts = [ag.rewards(tree, path, said)];
  const shared = same ? turns.findIndex((t, k) => t !== same[k]) : -1;
  path.forEach((i, k) => {
    if (k === shared && k > 0) parts.push(ag.el("div", { class: "parting" }, "here they part"));
    parts.push(...ag.turn(episode, i, said[i]));
  });
  parts.push(ag.ending(tree, leaf));
  return { element: ag.el("div", { class: "conversation" }, ...parts), turns };
};

ag.turn = (episode, i, content) => {
  const { tree, source } = episode;
  const n = tree.nodes;
  const cards = content.messages.map((m) => ag.message(m, source));
  if (!n.action[i]) return n.continues[i] >= 0 ? [ag.fold("The chat template rewrote the history here", () => cards, false, "rewritten")] : cards;
  const facts = [];
  if (n.visits[i]) facts.push(ag.badge("search", `Q ${ag.real(n.value[i])}  N ${n.visits[i]}`, "mean of the returns, and visits"));
  if (n.rank[i] !== null) facts.push(ag.badge("search", `rank ${ag.real(n.rank[i], 2)}`, "what a critic thinks of it beside its siblings"));
  if (n.reward[i]) facts.push(ag.badge(n.reward[i] > 0 ? "good" : "bad", `reward ${ag.signed(n.reward[i])}`, Object.entries(content.rewards).map(([k, v]) => `${k} ${ag.real(v)}`).join("\n")));
  for (const error of n.errors[i] ?? []) facts.push(ag.badge("warn", error, "a mistake of the agent"));
  if (content.cut) facts.push(ag.badge("warn", "cut off", "the action hit the limit of tokens"));
  if (n.tokens[i] !== null) facts.push(ag.el("span", { class: "dim" }, `${n.tokens[i]} tokens`));
  cards[cards.length - 1].append(ag.el("footer", { title: `node ${i}, ${content.version || "no version"}, state ${content.state || "unknown"}` }, ...facts));
  return cards;
};

ag.message = (m, source) => {
  const parts = [];
  if (m.thinking) parts.push(ag.fold(["thought ", ag.el("span", { class: "dim" }, ag.brief(m.thinking, 90))], () => ag.text(m.thinking, source, "thinking")));
  const long = m.role === "system" || (m.role === "tool" && ag.brief(m.content, 1e6).split("\n").length > ag.CALM) || (m.role === "tool" && (m.content.length ?? 0) > 1500);
  if (m.content) parts.push(long ? ag.fold(ag.el("span", { class: "dim" }, ag.brief(m.content, 110)), () => ag.text(m.content, source)) : ag.text(m.content, source));
  if (m.malformed) parts.push(ag.el("p", { class: "failed" }, "could not be read: ", ag.text(m.malformed, source)));
  for (const call of m.tool_calls ?? []) parts.push(ag.call(call, source));
  const who = m.role === "tool" && m.name ? ["tool ", ag.el("span", { class: "dim" }, ag.brief(m.name, 40))] : [m.role];
  return ag.el("article", { class: `message ${m.role}` }, ag.el("header", {}, ...who), ...parts);
};

ag.call = (call, source) => {
  const given = call.arguments === null || call.arguments === undefined ? null : Object.entries(call.arguments);
  const told = given ? given.map(([k, v]) => `${k}=${ag.brief(v, 40)}`).join(", ") : ag.brief(call.raw ?? "", 80);
  const line = [ag.el("b", {}, ag.brief(call.name || "no name", 60)), ag.el("span", {}, `(${ag.brief(told, 120)})`)];
  return ag.fold(line, () => [
    given ? given.map(([k, v]) => ag.el("div", { class: "argument" }, ag.el("span", { class: "key" }, k), ag.text(typeof v === "string" || v?.at ? v : ag.json(v), source))) : null,
    given && !given.length ? ag.el("span", { class: "dim" }, "no arguments") : null,
    call.raw ? ag.fold(ag.el("span", { class: "dim" }, "as written"), () => ag.text(call.raw, source)) : null,
  ].flat().filter(Boolean), false, "call");
};

ag.ending = (tree, leaf) => {
  const n = tree.nodes;
  const why = n.end[leaf] ?? (tree.children[leaf].length ? "goes on" : "not played to the end");
  return ag.el("div", { class: "ending" }, n.end[leaf] ? ag.outcome(n.success[leaf]) : null, ` ${why.replaceAll("_", " ")}, reward ${ag.real(tree.earned[leaf])}`);
};

/** Rewards by part: a line for each turn that earned something, and their sum. */
ag.rewards = (tree, path, said) => {
  const n = tree.nodes;
  const acted = path.filter((i) => n.action[i]);
  const names = [...new Set(acted.flatMap((i) => Object.keys(said[i].rewards)))];
  const total = acted.reduce((sum, i) => sum + (n.reward[i] ?? 0), 0);
  const cell = (x) => ag.el("td", { class: x > 0 ? "up" : x < 0 ? "down" : "dim" }, x === null || x === undefined ? "" : ag.real(x));
  const sum = (name) => acted.reduce((s, i) => s + (said[i].rewards[name] ?? 0), 0);
  const parts = names.map((name) => ag.el("span", { class: "part" }, `${name} `, ag.el("b", { class: sum(name) > 0 ? "up" : sum(name) < 0 ? "down" : "" }, ag.real(sum(name)))));
  const line = [ag.el("span", {}, "Reward "), ag.el("b", { class: total > 0 ? "up" : "down" }, ag.real(total)), ...parts.flatMap((p) => [" ", p])];
  return ag.fold(line, () => ag.el("table", { class: "rewards" },
    ag.el("tr", {}, ag.el("th", {}, "turn"), ...names.map((name) => ag.el("th", {}, name)), ag.el("th", {}, "reward")),
    ...acted.map((i, k) => ag.el("tr", {}, ag.el("td", {}, `${k + 1}`), ...names.map((name) => cell(said[i].rewards[name])), cell(n.reward[i]))),
    ag.el("tr", { class: "sum" }, ag.el("td", {}, "sum"), ...names.map((name) => cell(sum(name))), cell(total))), false, "sums");
};

/** What else is known of an episode. */
ag.details = (episode) => {
  const o = episode.outline;
  const fact = (name, value) => (value === "" || value === null || value === undefined ? null : ag.el("tr", {}, ag.el("th", {}, name), ag.el("td", {}, value)));
  const other = ([id, version, sample, success, reward]) => ag.el("tr", {}, ag.el("td", {}, ag.outcome(success)), ag.el("td", {}, ag.el("a", { href: ag.address({ ...episode.source, id }) }, `${version} #${sample}`)),
    ag.el("td", { class: "number" }, ag.real(reward)), ag.el("td", {}, ag.button("beside", "Show it beside this one", () => ag.beside({ part: episode.source.part, id }))));
  return ag.el("div", { class: "details" },
    ag.el("table", { class: "facts" }, ...[
      fact("Environment", `${o.env} ${Object.keys(o.env_args).length ? ag.json(o.env_args) : ""}`), fact("Task", `${ag.brief(o.task.id, 200)}, ${o.task.split ?? ""} ${o.task.difficulty ?? ""}`),
      fact("Policy", o.version), fact("Attempt", `#${o.sample}`), fact("Episode", `${o.id}, ${new Date(1000 * o.created).toLocaleString()}, ${ag.real(o.seconds)} s`),
      fact("Tree", `${ag.plural(episode.tree.actions.length, "action")}, ${ag.plural(episode.tree.leaves.length, "path")}`), fact("History rewritten", o.drift ? `${o.drift} times` : ""),
      ...o.selections.map(([name, leaf, reason]) => fact(`Selection ${name}`, reason ? `path to ${leaf} dropped, ${reason}` : `path to ${leaf} kept`)),
    ].filter(Boolean)),
    ag.fold("Task", () => [ag.text(o.task.prompt ?? "", episode.source), ag.text(ag.json(o.task.data ?? {}), episode.source, "code")], true),
    ag.fold(ag.plural(o.tools.length, "tool"), () => o.tools.map((tool) => ag.fold(ag.brief(tool.function?.name ?? "", 60), () => ag.text(ag.json(tool), episode.source, "code")))),
    o.others.length ? ag.fold(ag.plural(o.others.length, "other attempt") + " at this task", () => ag.el("table", { class: "others" }, ...o.others.map(other)), true) : "",
  );
};
