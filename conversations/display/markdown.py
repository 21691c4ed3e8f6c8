"""
The Markdown of agents: CommonMark with tables, ~~strikethrough~~, task lists and bare addresses as
links. Raw HTML stays text and images become links. Nothing that was said is dropped, whereas
CommonMark drops link definitions, cells beyond a table's header, and list numbers.
"""

import re
from functools import cache
from html import escape
from operator import attrgetter

from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.rules_block.list import list_block
from markdown_it.rules_block.table import escapedSplit, getLine, table
from markdown_it.rules_inline.emphasis import tokenize as emphasis
from markdown_it.rules_inline.escape import escape as escape_rule
from markdown_it.token import Token

from .links import ADDRESS, Linkify, length

# No relative links, which would lead to our own pages.
LINK = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)
# The parser drops whatever is nested deeper.
DEEPEST = 50
# Headings in a message must not compete with those of the page.
SHIFTED = {"h1": "h4", "h2": "h5", "h3": "h6", "h4": "h6", "h5": "h6"}
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
TASK = re.compile(r"\[([ xX])\](?=\s)")
BOXES = {" ": "☐", "x": "☑", "X": "☑"}
FORMULA_ENDS = {"(": r"\)", "[": r"\]"}
LONGEST_FORMULA = 2_000
# A price begins with a dollar too, but a formula has no space at either end and no digit after it.
DOLLARS = re.compile(
    r"\$\$(?:\\.|[^\\$])++\$\$|\$(?![\s$])(?=[^$]*[\\^_{])(?:\\.|[^\\$])++(?<!\s)\$(?!\d)",
    re.DOTALL,
)
ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
SCHEMES = ("https", "http")
CELL_LIMITS = {"th_open": True, "td_open": True, "th_close": False, "td_close": False}


@cache
def parser() -> MarkdownIt:
    options = {"html": False, "breaks": True, "maxNesting": DEEPEST, "linkify": True}
    markdown = MarkdownIt("commonmark", options)
    markdown.enable(["table", "strikethrough", "linkify"])
    markdown.disable("reference")
    markdown.linkify = Linkify()
    # Links that would lead nowhere stay as they were written.
    markdown.validateLink = lambda address: bool(LINK.match(address))
    markdown.normalizeLinkText = lambda address: address
    markdown.block.ruler.at("table", whole_table, {"alt": ["paragraph", "reference"]})
    markdown.block.ruler.at(
        "list", list_as_numbered, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    markdown.inline.ruler.at("linkify", bare_address)
    markdown.inline.ruler.at("escape", escape_or_formula)
    markdown.inline.ruler.before("escape", "formula", formula)
    markdown.inline.ruler.at("emphasis", emphasis_or_times)
    markdown.core.ruler.before("text_join", "as_said", as_said)
    markdown.add_render_rule("image", image_as_link)
    return markdown


def is_too_deep(tokens: list[Token]) -> bool:
    return max(map(attrgetter("level"), tokens), default=0) >= DEEPEST - 1


def image_as_link(self, tokens, place, options, env):
    image = tokens[place]
    address, title = escape(str(image.attrGet("src"))), image.attrGet("title")
    titled = f' title="{escape(str(title))}"' if title else ""
    return f'<a href="{address}"{titled}>{escape(image.content) or address}</a>'


# Blocks


def whole_table(state, start, end, silent):
    """The rule for tables, plus the cells of a row that the header has no column for."""
    before = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    columns, line = 0, start
    tokens = state.tokens[before:]
    del state.tokens[before:]
    for token in tokens:
        if token.type == "tr_open":
            line = token.map[0]
        columns += token.type == "th_open"
        if token.type == "tr_close" and line > start:
            # The row's own bars at its ends cause an empty first and last cell.
            cells = escapedSplit(getLine(state, line).strip())
            cells = cells[1 if cells[0] == "" else 0 :]
            for cell in cells[columns : -1 if cells[-1:] == [""] else None]:
                inline = Token("inline", "", 0, content=cell.strip(), children=[])
                inline.level, inline.map = token.level + 2, [line, line + 1]
                state.tokens += [
                    Token("td_open", "td", 1, level=token.level + 1, block=True),
                    inline,
                    Token("td_close", "td", -1, level=token.level + 1, block=True),
                ]
        state.tokens.append(token)
    return True


def list_as_numbered(state, start, end, silent):
    """The rule for lists, but not for a number such as 007, which a list would shorten."""
    place = state.bMarks[start] + state.tShift[start]
    if state.src.startswith("0", place) and state.src[place + 1 : place + 2].isdigit():
        return False
    return list_block(state, start, end, silent)


# Within a line


def formula(state, silent):
    r"""A formula in $…$, $$…$$ or \begin{…} stays as written."""
    pattern = {"$": DOLLARS, "\\": ENVIRONMENT}.get(state.src[state.pos])
    end = min(state.pos + LONGEST_FORMULA, state.posMax)
    found = pattern.match(state.src, state.pos, end) if pattern else None
    if found:
        as_it_is(state, found.end(), silent)
    return bool(found)


def as_it_is(state, end: int, silent: bool):
    """Keep the text up to `end`, including its line breaks."""
    if not silent:
        for number, line in enumerate(state.src[state.pos : end].split("\n")):
            if number:
                state.push("softbreak", "br", 0)
            token = state.push("text_special", "", 0)
            token.content = token.markup = line
    state.pos = end


def escape_or_formula(state, silent):
    r"""Keeps a formula in \(…\) or \[…\] as written, and the backslash of \\, \( and so on."""
    place = state.pos
    if state.src[place] != "\\":
        return False
    opening = state.src[place + 1 : min(place + 2, state.posMax)]
    if not opening or opening not in "\\()[]":
        return escape_rule(state, silent)
    end = place + 2
    if closing := FORMULA_ENDS.get(opening):
        found = state.src.find(closing, end, min(end + LONGEST_FORMULA, state.posMax))
        end = found + 2 if found >= 0 else end
    as_it_is(state, end, silent)
    return True


def bare_address(state, silent):
    """The rule "linkify" for text with "://"; comes before emphasis is looked for."""
    if not state.src.startswith("://", state.pos) or state.linkLevel > 0:
        return False
    scheme = next((each for each in SCHEMES if state.pending.lower().endswith(each)), "")
    start = state.pos - len(scheme)
    found = ADDRESS.match(state.src, start, state.posMax) if scheme else None
    if not found:
        return False
    address = found[0][: length(found[0])]
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(address)}
        state.push("text", "", 0).content = address
        state.push("link_close", "a", -1)
    state.pos = start + len(address)
    return True


def emphasis_or_times(state, silent):
    """Keeps the stars of 100*100/400*56 and 2**10, which mean multiplication."""
    if silent or state.src[state.pos] not in "*_":
        return False
    if not multiplies(state):
        return emphasis(state, silent)
    while state.src.startswith("*", state.pos):
        state.pending += "*"
        state.pos += 1
    return True


def multiplies(state) -> bool:
    place = end = state.pos
    while state.src.startswith("*", end):
        end += 1
    before, after = state.src[place - 1 : place], state.src[end : min(end + 1, state.posMax)]
    if not before or not after or not (before + after).isascii():
        return False
    if end == place + 1:
        between = (before.isalnum() or before in ")]") and (after.isalnum() or after in "([")
    else:
        between = end == place + 2 and before.isdigit() and after.isdigit()
    return between and not emphasis_is_open(state)


def emphasis_is_open(state) -> bool:
    recent = [each for each in state.delimiters[-50:] if each.marker == ord("*")]
    opened = sum(each.open and not each.close for each in recent)
    return opened > sum(each.close and not each.open for each in recent)


# Nothing dropped


def as_said(state):
    """Restores what rendering would drop, and renders what CommonMark does not know."""
    tokens: list[Token] = []
    # For each surrounding list: its next number, or None if it has bullets.
    numbers: list[int | None] = []
    in_cell = False
    for place, token in enumerate(state.tokens):
        kind = token.type
        if kind == "inline":
            if in_cell:
                token.children = with_line_breaks(token.children)
            if any(child.type in ("link_open", "image") for child in token.children):
                token.children = with_whole_links(token.children)
        elif kind in CELL_LIMITS:
            in_cell = CELL_LIMITS[kind]
        elif kind in ("heading_open", "heading_close"):
            token.tag = SHIFTED.get(token.tag, token.tag)
        elif kind == "fence" and token.info.strip():
            tokens += language(token)
        elif kind == "ordered_list_open":
            numbers.append(int(token.attrGet("start") if token.attrGet("start") is not None else 1))
        elif kind == "bullet_list_open":
            numbers.append(None)
        elif kind in ("ordered_list_close", "bullet_list_close"):
            numbers.pop()
        elif kind == "list_item_open":
            begin_item(token, state.tokens[place + 1 : place + 3])
            if numbers[-1] is not None:
                number = int(token.info)
                if number != numbers[-1]:
                    tokens += new_list(token, number)
                numbers[-1] = number + 1
        tokens.append(token)
    state.tokens = tokens


def text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def language(fence: Token) -> list[Token]:
    """A line with the text beside the fence, such as the name of a language."""
    words = text(unescapeAll(fence.info).strip())
    children = [Token("em_open", "em", 1), words, Token("em_close", "em", -1)]
    return [
        Token("paragraph_open", "p", 1, level=fence.level, block=True),
        Token("inline", "", 0, children=children, level=fence.level + 1),
        Token("paragraph_close", "p", -1, level=fence.level, block=True),
    ]


def new_list(item: Token, number: int) -> list[Token]:
    """Ends a list and starts another where the numbers do not continue."""
    level = item.level - 1
    return [
        Token("ordered_list_close", "ol", -1, level=level, block=True),
        Token("ordered_list_open", "ol", 1, attrs={"start": number}, level=level, block=True),
    ]


def begin_item(item: Token, following: list[Token]):
    """Adds a task's checkbox, or a number that a list would shorten."""
    if [each.type for each in following] != ["paragraph_open", "inline"]:
        return
    children = following[1].children
    if item.info.startswith("0") and item.info != "0":
        children.insert(0, text(f"{item.info}{item.markup} "))
    elif children and children[0].type == "text":
        content = children[0].content
        children[0].content = (
            TASK.sub(lambda box: BOXES[box[1]], content, count=1)
            if (TASK.match(content))
            else content
        )


def with_line_breaks(children: list[Token]) -> list[Token]:
    """In a table cell, <br> is the only way to break a line."""
    found = []
    for child in children:
        lines = LINE_BREAK.split(child.content) if child.type == "text" else []
        if len(lines) < 2:
            found.append(child)
            continue
        for number, line in enumerate(lines):
            found += [Token("hardbreak", "br", 0)] if number else []
            found.append(text(line))
    return found


def with_whole_links(children: list[Token]) -> list[Token]:
    """A link without text shows its address; an image inside a link becomes a link after it."""
    found: list[Token] = []
    link, images = None, []
    for child in children:
        if child.type == "link_open":
            link, begins, images = child, len(found), []
        elif child.type == "image" and link:
            images.append(Token("image", "img", 0, attrs=child.attrs, content="image"))
            child = text(child.content or str(child.attrGet("src")))
        elif child.type == "link_close" and link:
            if not "".join(each.content for each in found[begins:]).strip():
                found.append(text(str(link.attrGet("href"))))
            link = None
            found.append(child)
            for image in images:
                found += [text(" "), image]
            continue
        found.append(child)
    return found
