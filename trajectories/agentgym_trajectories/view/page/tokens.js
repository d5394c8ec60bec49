"use strict";
// Every token of a trajectory, coloured by what is known of it.

ag.STEPS = 9; // shades of a colour

/** Ways to colour a token: whether it can be used, and a shade in [-1, 1] (negative is bad), or in [0, 1]. */
ag.SHADES = {
  mask: { title: "Mask", says: "sampled tokens are trained on, the others are not", known: (t) => true, shade: (t) => (t.action ? 0.5 : 0) },
  logprob: { title: "Logprob", says: "red: unlikely when it was sampled (nothing at 1, full at e⁻⁴)", known: (t) => t.logprob !== null, shade: (t) => Math.max(-1, t.logprob / 4) },
  advantage: { title: "Advantage", says: "green: made likelier by the update, red: made less likely", known: (t) => t.advantage !== null, shade: (t, most) => t.advantage / most },
  change: { title: "Change", says: "green: likelier for the policy that learnt from it than when it was sampled, red: less likely (full at 1 nat)", known: (t) => t.fresh !== null, shade: (t) => Math.max(-1, Math.min(1, t.fresh - t.logprob)) },
};

ag.tokens = async (episode, leaf) => {
  const path = episode.tree.path(leaf);
  const known = await ag.contents("tokens", episode.source, path);
  const tokens = [];
  const starts = new Map();
  for (const node of path) {
    const t = known[node];
    if (!t) continue;
    starts.set(tokens.length, node);
    t.ids.forEach((id, i) => tokens.push({ node, id, text: t.texts ? t.texts[i] : null, action: t.action, logprob: t.logprobs?.[i] ?? null, fresh: t.new?.[i] ?? null, advantage: t.advantages?.[i] ?? null }));
  }
  if (!tokens.length) return ag.el("p", { class: "empty" }, "This episode has no tokens: its policy is a program, or a server that gives none.");
  return new ag.TokenView(episode, tokens, starts).element;
};

ag.TokenView = class {
  constructor(episode, tokens, starts) {
    this.tokens = tokens;
    this.most = Math.max(1e-9, ...tokens.filter((t) => t.advantage !== null).map((t) => Math.abs(t.advantage)));
    this.reader = ag.el("div", { class: "reader", "aria-live": "polite" }, "Point at a token.");
    this.legend = ag.el("span", { class: "dim" });
    this.text = ag.el("div", { class: "tokens", on: { pointerover: (e) => this.point(e), click: (e) => this.point(e) } });
    const offered = Object.entries(ag.SHADES).filter(([, s]) => tokens.some((t) => t.action && s.known(t)));
    this.choice = offered.map(([name, s]) => ag.button(s.title, s.says, () => this.colour(name)));
    this.names = offered.map(([name]) => name);
    const trained = tokens.filter((t) => t.action).length;
    const spelt = tokens.some((t) => t.text !== null) ? "" : " No tokenizer with this vocabulary was found (see --tokenizer): ids are shown.";
    this.element = ag.el("div", { class: "tokenview" }, ag.el("div", { class: "tools" }, ...this.choice, this.legend),
      ag.el("p", { class: "dim" }, `${ag.plural(tokens.length, "token")}, ${ag.count(trained)} of them sampled.${spelt}${episode.outline.dumped ? " Advantages are those of the update that learnt from it." : ""}`), this.text, this.reader);
    this.fill(starts);
    const wanted = ag.remember("shade");
    this.colour(this.names.includes(wanted) ? wanted : this.names.includes("advantage") ? "advantage" : "mask");
  }

  fill(starts) {
    let box = this.text;
    this.tokens.forEach((t, i) => {
      if (starts.has(i)) this.text.append(box = ag.el("div", { class: `piece ${t.action ? "acted" : "observed"}` }));
      const text = t.text === null ? `${t.id} ` : t.text;
      const token = document.createElement("span");
      token.dataset.i = i;
      token.textContent = text.replaceAll("\n", "⏎\n") || "·";
      box.append(token);
    });
  }

  colour(name) {
    const s = ag.SHADES[name];
    ag.remember("shade", name);
    this.shade = name;
    this.choice.forEach((b, k) => b.setAttribute("aria-pressed", String(this.names[k] === name)));
    this.legend.textContent = s.says;
    for (const span of this.text.querySelectorAll("span")) {
      const t = this.tokens[span.dataset.i];
      const level = s.known(t) ? Math.round(s.shade(t, this.most) * ag.STEPS) : 0;
      span.className = `${t.action ? "on" : "off"}${level > 0 ? ` u${level}` : level < 0 ? ` d${-level}` : ""}`;
    }
  }

  point(event) {
    const t = this.tokens[event.target.dataset?.i];
    if (!t) return;
    const facts = [`id ${t.id}`, `node ${t.node}`, t.action ? "sampled" : "given"];
    if (t.logprob !== null) facts.push(`logprob ${t.logprob.toFixed(4)} (p ${Math.exp(t.logprob).toFixed(3)})`);
    if (t.fresh !== null) facts.push(`new ${t.fresh.toFixed(4)}`);
    if (t.advantage !== null) facts.push(`advantage ${ag.signed(t.advantage, 4)}`);
    this.reader.replaceChildren(ag.el("code", {}, t.text === null ? `${t.id}` : JSON.stringify(t.text)), ...facts.map((f) => ag.el("span", {}, f)));
  }
};
