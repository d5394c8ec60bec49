"""The report as one page: no scripts, no other files, and texts of agents that are texts alone."""

import base64
import hashlib
from collections.abc import Sequence
from xml.etree import ElementTree

from agentgym_training.plots import curves
from agentgym_trajectories.tree import Trajectory

from .runs import Series, Told
from .tables import Table, comparison, measurements, mistakes

LONGEST = 2000  # characters of one message of a sample
STYLE = """
:root { color-scheme: light dark; --text: light-dark(#1d2125, #e4e6e8); --dim: light-dark(#6a7178, #939ba3);
  --line: light-dark(#dcdcd5, #333a41); --plate: light-dark(#fff, #1b1f23); --back: light-dark(#fbfbf9, #14171a); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; margin: 1rem 0;
  display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem 1.4rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--dim); font-weight: normal; }
td.number { text-align: right; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; }
img { max-width: 100%; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: 7px; padding: .4rem .9rem; margin: .5rem 0; background: var(--plate); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .8rem; font-size: 13px; }
summary { cursor: pointer; }
.dim { color: var(--dim); }
"""


def page(runs: Sequence[Told]) -> str:
    """The page of a report; `ElementTree` makes text of every text."""
    root = ElementTree.Element("html", {"lang": "en"})
    head, body = ElementTree.SubElement(root, "head"), ElementTree.SubElement(root, "body")
    ElementTree.SubElement(head, "meta", {"charset": "utf-8"})
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"
    ElementTree.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    ElementTree.SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    _add(head, "title", "Report: " + ", ".join(run.name for run in runs))
    _add(head, "style", STYLE)
    _add(body, "h1", "Report")
    _table(body, comparison(runs))
    known = [run.success for run in runs if len(run.success.x) > 1]
    if known:
        _figure(body, "Success over sampled tokens, with 95 % intervals", "sampled tokens", known)
    for run in runs:
        _run(body, run)
    return "<!doctype html>\n" + ElementTree.tostring(root, "unicode", method="html") + "\n"


def _run(body: ElementTree.Element, run: Told) -> None:
    _add(body, "h2", run.name)
    if run.about:
        facts = ElementTree.SubElement(body, "dl")
        for name, value in run.about.items():
            _add(facts, "dt", name)
            _add(facts, "dd", value)
    _table(body, measurements(run))
    for title, (over, series) in run.curves.items():
        _figure(body, title, over, series)
    found = mistakes(run)
    if found[1]:
        _add(body, "h3", "Mistakes an episode, by category")
        _table(body, found)
    if run.samples:
        _add(body, "h3", "Samples")
    for what, trajectory in run.samples:
        _sample(body, what, trajectory)


def _table(body: ElementTree.Element, table: Table) -> None:
    titles, rows = table
    if not rows:
        return
    made = ElementTree.SubElement(body, "table")
    for kind, cells in [("th", titles), *(("td", row) for row in rows)]:
        line = ElementTree.SubElement(made, "tr")
        for text in cells:
            _add(line, kind, text).set("class", "number" if text[:1].isdigit() else "")


def _figure(body: ElementTree.Element, title: str, over: str, series: Sequence[Series]) -> None:
    picture = base64.b64encode(curves(title, over, series)).decode()
    made = ElementTree.SubElement(body, "figure")
    ElementTree.SubElement(made, "img", {"alt": title, "src": f"data:image/svg+xml;base64,{picture}"})


def _sample(body: ElementTree.Element, what: str, trajectory: Trajectory) -> None:
    episode = trajectory.episode
    box = ElementTree.SubElement(body, "details")
    _add(box, "summary", f"{what}: {episode.task.id} by {episode.version}, reward {trajectory.reward:.3g}")
    for message in trajectory.messages:
        _add(box, "div", message.role).set("class", "dim")
        calls = "".join(f"\n→ {c.name} {c.raw if c.arguments is None else c.arguments}" for c in message.tool_calls)
        text = f"{message.content}{calls}".strip()
        _add(box, "pre", text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)")


def _add(parent: ElementTree.Element, kind: str, text: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, kind)
    made.text = text
    return made
