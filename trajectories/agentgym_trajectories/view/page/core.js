"use strict";
// What all parts of the page share. Texts come from agents and environments and are hostile: they become text nodes, never markup.

const ag = {};

/** An element. `props`: "class", "on" (listeners), "data" (data attributes), properties of the element; children are elements or text. */
ag.el = (tag, props = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("aria-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return made;
};

// ---- data: from the server, or from the files of an export -------------------------------------------------------------------

ag.exported = document.documentElement.dataset.exported === "yes";
ag.waiting = new Map(); // addresses of an export's files that are being loaded
ag.loaded = new Map();

/** The value at an address such as "0/episode/7"; an export knows no query and gives all there is. */
ag.get = async (address, query = {}) => {
  if (ag.exported) return ag.load(address);
  const asked = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== "" && v !== null && v !== undefined));
  const response = await fetch(`api/${address}?${asked}`);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
};

/** A file of an export is a script that calls `ag.put`: pages that are opened from a disk may load nothing else. */
ag.load = (address) => {
  if (!ag.loaded.has(address)) {
    ag.loaded.set(address, new Promise((found, lost) => {
      ag.waiting.set(address, found);
      const script = ag.el("script", { src: `data/${address}.js`, on: { error: () => lost(new Error(`${address} is not part of this export`)) } });
      document.head.append(script);
    }));
  }
  return ag.loaded.get(address);
};

ag.put = (address, value) => ag.waiting.get(address)(value);

// ---- numbers -----------------------------------------------------------------------------------------------------------------

ag.count = (n) => (n ?? 0).toLocaleString("en-US");
ag.share = (x) => (x === null || x === undefined ? "–" : `${(100 * x).toFixed(1)} %`);
ag.real = (x, digits = 3) => (x === null || x === undefined ? "–" : Number(x.toFixed(digits)).toString());
ag.signed = (x, digits = 3) => (x > 0 ? "+" : "") + ag.real(x, digits);
ag.plural = (n, one, many = `${one}s`) => `${ag.count(n)} ${n === 1 ? one : many}`;

// ---- small parts -------------------------------------------------------------------------------------------------------------

ag.badge = (kind, text, title = "") => ag.el("span", { class: `badge ${kind}`, title }, text);
ag.button = (text, title, press, kind = "") => ag.el("button", { type: "button", class: kind, title, on: { click: press } }, text);

ag.outcome = (success) =>
  success === null || success === undefined
    ? ag.badge("none", "–", "nobody judged it")
    : success ? ag.badge("good", "✓", "solved") : ag.badge("bad", "✗", "not solved");

/** Who played: the policy, and the search that it was part of. */
ag.policy = (version) => {
  const [policy, search] = version.split("+");
  return [ag.el("span", { class: "version", title: version }, policy), search ? ag.badge("search", search.split("/")[0], version) : null];
};

ag.failed = (error) => ag.el("p", { class: "failed", role: "alert" }, `${error.message ?? error}`);

/** Wait until nothing was asked for so many milliseconds, then do it once. */
ag.calm = (work, pause = 100) => {
  let waiting;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => work(...given), pause);
  };
};

// ---- dark and light ----------------------------------------------------------------------------------------------------------

ag.remember = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(`agentgym.${name}`);
    localStorage.setItem(`agentgym.${name}`, value);
  } catch { /* a page from a disk may have no storage */ }
  return null;
};

ag.theme = (chosen) => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen ?? ag.remember("theme") ?? (dark ? "dark" : "light");
  if (chosen) ag.remember("theme", chosen);
  document.dispatchEvent(new Event("themed"));
};
ag.theme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => ag.theme());
