"use strict";
// Texts of any length: what is long is shown piece by piece, so that ten megabytes do not hold the page up.

ag.PIECE = 20000; // characters shown at once
ag.CALM = 12; // lines after which a tool's answer is folded

/** A text, or the beginning of one that the server cut, with a button for more. `source`: the episode that it belongs to. */
ag.text = (value, source, kind = "") => {
  const box = ag.el("div", { class: `text ${kind}` });
  const total = typeof value === "string" ? value.length : value.length;
  let shown = 0;
  const more = ag.el("div", { class: "more" });
  const show = (piece) => {
    more.before(piece);
    shown += piece.length;
    more.replaceChildren();
    if (shown < total) {
      more.append(
        ag.button(`Show ${ag.count(Math.min(ag.PIECE, total - shown))} more characters`, "", async () => show(await ag.piece(value, source, shown))),
        ag.el("span", { class: "dim" }, ` ${ag.count(shown)} of ${ag.count(total)}`),
      );
    }
  };
  box.append(more);
  show(typeof value === "string" ? value.slice(0, ag.PIECE) : value.begins);
  return box;
};

/** The next piece of a text. */
ag.piece = async (value, source, start) => {
  if (typeof value === "string") return value.slice(start, start + ag.PIECE);
  const found = await ag.get(`${source.part}/text/${source.id}`, { at: JSON.stringify(value.at), from: start });
  return found.text;
};

/** How a value reads in one line. */
ag.brief = (value, longest = 60) => {
  const text = typeof value === "string" ? value : value?.begins ?? JSON.stringify(value) ?? "";
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
};

/** Any JSON value as text over several lines; what is cut stays cut, with its length. */
ag.json = (value) => JSON.stringify(value, (key, v) => (v && typeof v === "object" && "begins" in v && "at" in v ? `${v.begins}… (${ag.count(v.length)} characters)` : v), 2) ?? "";

/** A foldable part: its line, and what is made when it is opened for the first time. */
ag.fold = (line, make, open = false, kind = "") => {
  const inside = ag.el("div", { class: "inside" });
  const fill = () => { if (!inside.hasChildNodes()) inside.append(...[make()].flat()); };
  const box = ag.el("details", { class: `fold ${kind}`, open, on: { toggle: () => box.open && fill() } }, ag.el("summary", {}, ...[line].flat()), inside);
  if (open) fill();
  return box;
};
