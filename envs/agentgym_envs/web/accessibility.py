"""HTML as an agent reads it: lines of text, in which controls are numbered and stand with role, name and state.

::

    [1] link "Harbour Goods" [2] searchbox "Search products" [3] button "Search"
    # Results for desk lamp
    [9] combobox "Sort by" = "best match" ("best match", "price: low to high")
    [11] link "Norvik Aster 40 desk lamp, dimmable" 4.5 of 5 stars $45.95

Both back ends give their HTML to this one reader, so that they cannot differ in what they call things. Names are computed as
browsers do, as far as our pages need it: aria-label, content, alt, label, placeholder, title. What a browser alone knows it
writes into attributes (`hidden`, `data-node`, `data-value`, `data-focused`) before it hands its HTML over; on pages with scripts
also what else can be acted on (`data-role`, `data-name`, see `tab.js`).
"""

import functools
from collections.abc import Iterator, Mapping

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "dd", "details", "dialog", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend", "li", "main", "nav",
    "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))  # fmt: skip
SILENT = frozenset(("script", "style", "template", "noscript", "head", "title", "svg"))
CELLS = frozenset(("td", "th"))
HEADINGS = {f"h{n}": f"{'#' * n} " for n in range(1, 7)}
INPUTS = {  # roles of inputs that are no textboxes
    "search": "searchbox", "checkbox": "checkbox", "radio": "radio", "submit": "button", "button": "button", "reset": "button",
    "image": "button",
}  # fmt: skip
KINDS = {"a": "link", "button": "button", "select": "select", "textarea": "area"}
SCRIPTED = {"textbox": "area"}  # kinds of controls that only scripts make, by role
BOXES = {"checkbox": "check", "radio": "radio", "button": "button"}
FIELDS = ("input", "select", "textarea")
CHECKED = "on"


class Control(msgspec.Struct, frozen=True, gc=False):
    """What an agent can act on.

    Attributes:
        role: As in ARIA.
        kind: "link", "button", "text", "area" (a text of many lines), "select", "check", "radio", or "point": whatever else a
            page with scripts lets one click.
        node: Its number among the browser's elements; -1 without a browser.
        form: Index into the page's forms; -1 outside of one.
        field: Its name in the form.
        value: What it holds when the page comes; of boxes `CHECKED` or nothing.
        sent: What a box or button sends.
        options: Of a select: label by value.
        target: Where a link leads.
        disabled: Whether it refuses to be used.
    """

    role: str
    name: str
    kind: str
    node: int = -1
    form: int = -1
    field: str = ""
    value: str = ""
    sent: str = ""
    options: dict[str, str] = {}
    target: str = ""
    disabled: bool = False


class Form(msgspec.Struct, frozen=True, gc=False):
    """Where a form goes, and its hidden fields by their place among the controls: they are sent in the page's order."""

    action: str
    post: bool
    hidden: tuple[tuple[int, str, str], ...] = ()


class Page(msgspec.Struct, frozen=True, gc=False):
    """A page as it came; what was typed since is not part of it.

    Attributes:
        title: Of the document.
        lines: Each a tuple of texts, and of numbers that stand for controls.
        controls: In the document's order; an agent calls the first one 1.
    """

    title: str
    lines: tuple[tuple[str | int, ...], ...]
    controls: tuple[Control, ...]
    forms: tuple[Form, ...]

    def text(self, fields: Mapping[int, str], focus: int | None) -> Iterator[str]:
        """The page in lines, with what its fields hold now."""
        for line in self.lines:
            yield " ".join([p if isinstance(p, str) else self._control(p, fields, p == focus) for p in line])

    def _control(self, number: int, fields: Mapping[int, str], focused: bool) -> str:
        c = self.controls[number - 1]
        said = f"[{number}] {c.role}" if c.kind == "point" and not c.name else f'[{number}] {c.role} "{c.name}"'
        if c.kind not in ("link", "button", "point"):
            value = fields.get(number, c.value)
            if c.kind in ("check", "radio"):
                said += " checked" if value else ""
            elif c.kind == "select":
                said += f' = "{c.options.get(value, value)}" ({_labels(tuple(c.options.values()))})'
            else:
                said += f' = "{" ".join(value.split())}"'
        return f"{said}{' disabled' if c.disabled else ''}{' focused' if focused else ''}"


@functools.lru_cache(4096)
def _labels(labels: tuple[str, ...]) -> str:
    return ", ".join(f'"{label}"' for label in labels)


@functools.lru_cache(512)  # the same pages come again: first ones, those of a task that is tried often, those of a search's tree
def read(html: str) -> tuple[Page, dict[int, str], int | None]:
    """The page, what its fields hold other than what they came with (not to be changed), and which control is focused."""
    reader = _Reader(LexborHTMLParser(html))
    return reader.page(), reader.fields, reader.focus


class _Reader:
    """One pass over a document."""

    def __init__(self, document: LexborHTMLParser) -> None:
        self.document = document
        self.fields: dict[int, str] = {}
        self.focus: int | None = None
        self.lines: list[tuple[str | int, ...]] = []
        self.line: list[str | int] = []
        self.words: list[str] = []
        self.controls: list[Control] = []
        self.forms: list[Form] = []
        self.form = -1
        self.labels: dict[str | int, LexborNode] = {}  # by id, or by place in memory of a field within its label
        for label in document.css("label"):
            if (key := _labelled(label)) is not None:
                self.labels[key] = label

    def page(self) -> Page:
        """Read it."""
        title = self.document.css_first("title")
        body = self.document.body
        if body is not None:
            self._children(body)
            self._break()
        return Page(_squeezed(title.text()) if title else "", tuple(self.lines), tuple(self.controls), tuple(self.forms))

    def _children(self, node: LexborNode) -> None:
        child = node.first_child
        while child is not None:
            tag = child.tag
            if tag == "-text":
                self.words.append(child.text_content or "")
            elif tag is not None and tag not in SILENT and tag[0] not in "-!":
                self._element(child, tag)
            child = child.next

    def _element(self, node: LexborNode, tag: str) -> None:
        attributes = node.attributes
        if "hidden" in attributes or attributes.get("aria-hidden") == "true":
            return
        if "data-role" in attributes:
            self._point(node, tag, attributes)
        elif tag in ("a", "button", "input", "select", "textarea"):
            self._flush()
            self._control(node, tag, attributes)
        elif tag == "label" and _labelled(node) is not None:  # it is read out as the name of its field
            if (inner := node.css_first(", ".join(FIELDS))) is not None:
                self._element(inner, inner.tag or "")
        elif tag == "img":
            self.words.append(attributes.get("alt") or "")
        elif tag == "form":
            outer, self.form = self.form, len(self.forms)
            self.forms.append(Form(attributes.get("action") or "", (attributes.get("method") or "").lower() == "post"))
            self._block(node, tag)
            self.form = outer
        elif tag in BLOCKS:
            self._block(node, tag)
        else:
            self._children(node)

    def _point(self, node: LexborNode, tag: str, attributes: Mapping[str, str | None]) -> None:
        """What only scripts make a control; without a name it holds others."""
        block = tag in BLOCKS and tag not in CELLS
        if block:
            self._break()
        self._flush()
        self._control(node, tag, attributes)
        if "data-name" not in attributes:
            self._children(node)
        if block:
            self._break()

    def _block(self, node: LexborNode, tag: str) -> None:
        if tag in CELLS:  # the cells of a row share a line
            self._flush()
            if self.line:
                self.line.append("|")
            self._children(node)
            return
        self._break()
        if tag in HEADINGS:
            self.words.append(HEADINGS[tag])
        self._children(node)
        self._break()

    def _flush(self) -> None:
        if self.words:
            if text := _squeezed("".join(self.words)):
                self.line.append(text)
            self.words.clear()

    def _break(self) -> None:
        self._flush()
        if self.line:
            self.lines.append(tuple(self.line))
            self.line = []

    # ---- controls ----------------------------------------------------------------------------------------------------------

    def _control(self, node: LexborNode, tag: str, attributes: Mapping[str, str | None]) -> None:
        """Number a control; hidden fields and anchors without address are none."""
        kind = (attributes.get("type") or "").lower()
        if tag == "input" and kind == "hidden":
            self._hidden(attributes)
            return
        scripted = attributes.get("data-role")
        if tag == "a" and "href" not in attributes and not scripted:
            self._children(node)
            return
        number = len(self.controls) + 1
        role, form = _role(tag, kind), self.form
        options = [_option(o) for o in node.css("option")] if tag == "select" else []
        kept = _chosen(options) if options else _kept(node, attributes, tag, role)
        content = tag in ("a", "button")
        self.controls.append(
            Control(
                scripted or attributes.get("role") or role,
                self._name(node, attributes, content),
                SCRIPTED.get(scripted, "point") if scripted else KINDS.get(tag) or BOXES.get(role, "text"),
                int(attributes.get("data-node") or -1),
                form,
                attributes.get("name") or "",
                kept,
                attributes.get("value") or ("" if content or role == "button" else CHECKED),
                {value: label for value, label, _ in options},
                attributes.get("href") or "",
                "disabled" in attributes,
            )
        )
        self.line.append(number)
        now = attributes.get("data-value")
        if now is not None and now != kept:
            self.fields[number] = now
        if "data-focused" in attributes:
            self.focus = number

    def _hidden(self, attributes: Mapping[str, str | None]) -> None:
        if self.form >= 0:
            form = self.forms[self.form]
            field = (len(self.controls), attributes.get("name") or "", attributes.get("value") or "")
            self.forms[self.form] = msgspec.structs.replace(form, hidden=(*form.hidden, field))

    def _name(self, node: LexborNode, attributes: Mapping[str, str | None], content: bool) -> str:
        name = attributes.get("data-name") or attributes.get("aria-label")
        if not name and content:
            name = node.text() or next((i.attributes.get("alt") for i in node.css("img")), "")
        if not name:
            label = self.labels.get(attributes.get("id") or "") or self.labels.get(node.mem_id)
            name = _own_text(label) if label is not None else ""
        name = name or attributes.get("placeholder") or attributes.get("title") or ""
        if not name and attributes.get("type") in ("submit", "button", "reset"):
            name = attributes.get("value") or ""
        return _squeezed(name).replace('"', "'")


def _labelled(label: LexborNode) -> str | int | None:
    """What a label names: an id, the place in memory of the field in it, or nothing."""
    named = label.attributes.get("for")
    if named is not None:
        return named
    inner = label.css_first(", ".join(FIELDS))
    return None if inner is None else inner.mem_id


def _role(tag: str, kind: str) -> str:
    if tag == "input":
        return INPUTS.get(kind, "textbox")
    return {"a": "link", "button": "button", "select": "combobox", "textarea": "textbox"}.get(tag, "generic")


def _kept(node: LexborNode, attributes: Mapping[str, str | None], tag: str, role: str) -> str:
    """What a field holds when the page comes."""
    if tag == "textarea":
        return node.text().removeprefix("\n")
    if role in ("checkbox", "radio"):
        return CHECKED if "checked" in attributes else ""
    return attributes.get("value") or "" if role in ("textbox", "searchbox") else ""


def _chosen(options: list[tuple[str, str, bool]]) -> str:
    return next((value for value, _, selected in reversed(options) if selected), options[0][0])


def _option(node: LexborNode) -> tuple[str, str, bool]:
    """Value, label, and whether it is selected."""
    label, attributes = _squeezed(node.text()), node.attributes
    return attributes.get("value", label) or "", label, "selected" in attributes


def _own_text(label: LexborNode) -> str:
    """A label's words, without those of a control in it."""
    words, child = [], label.first_child
    while child is not None:
        if child.tag == "-text":
            words.append(child.text_content or "")
        elif child.tag not in FIELDS:
            words.append(child.text() or "")
        child = child.next
    return "".join(words)


def _squeezed(text: str | None) -> str:
    return " ".join((text or "").split())
