"""
Shows what strangers and models wrote as safe HTML: agents' messages as Markdown or a JSON tree, and
people's messages exactly as they typed them.

An allow-list sanitises the rendered Markdown.
"""

import re
from urllib.parse import unquote

import nh3
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it.token import Token

from backoffice import json_text
from privacy import masking
from privacy.personal_data import CUT, mask, mask_json

from .links import as_typed
from .markdown import LINK, is_too_deep, parser
from .marks import as_plain_text, marked
from .parts import parts
from .readable import AGENT, PROGRAMS

# Rendering time is proportional to length, but 2 µs per character: longer texts stay plain text.
MARKDOWN_UP_TO = 32_768

# The limits of a JSON tree that should be complete: on the message's own page, and when printed.
WHOLE = {"max_nodes": 10_000, "max_string": 1_000_000}
ALL_OPEN = {"opened": 50}
VISIBLE = re.compile(r">\s*[^<\s]")

TAGS = {
    *("h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a"),
    *("ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
}
# Each text's direction follows its first letter; code always runs from left to right.
DIRECTIONS = {
    tag: {"dir": "ltr" if tag in ("pre", "code") else "auto"}
    for tag in ("h4", "h5", "h6", "p", "blockquote", "li", "th", "td", "pre", "code")
}


def only_absolute_links(tag: str, name: str, value: str) -> str | None:
    return None if name == "href" and not LINK.match(value) else value


CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes=ATTRIBUTES,
    attribute_filter=only_absolute_links,
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}, **DIRECTIONS},
)


def grows(content: str) -> bool:
    """Whether filling in a table's missing cells outgrows the text: a few lines make 65,000."""
    lines = content.split("\n")
    return len(lines) * max(line.count("|") for line in lines) > len(content)


def as_markdown(content: str, term: str = "") -> SafeString:
    """The text rendered and sanitised, with the search term marked where it is visible."""
    return formatted(content, term) or as_plain_text(content, term)


def formatted(content: str, term: str = "", *, is_cut: bool = False) -> SafeString | None:
    """The same, or None to show plain text: it is too long, or rendered it would show nothing."""
    if len(content) > MARKDOWN_UP_TO or grows(content):
        return None
    html = rendered(content, is_cut=is_cut)
    # Many links can share one long address, and a text that is all markup shows nothing.
    if not html or len(html) > 30 * len(content) + 1000 or not VISIBLE.search(html):
        return None
    return mark_safe(marked(CLEANER.clean(html), term))  # noqa: S308


def rendered(content: str, *, is_cut: bool = False) -> str:
    """
    The Markdown as HTML; empty if it is nested too deep. Personal data is masked in the text that
    the page shows, because in the source, markup and escapes may stand between its letters.
    """
    source = masking.raw(content)
    tokens = parser().parse(source)
    if is_too_deep(tokens):
        return ""
    if masking.is_active():
        mask_tokens(tokens, is_cut or (content.endswith(CUT) and not source.endswith(CUT)))
    return parser().renderer.render(tokens, parser().options, {})


def mask_tokens(tokens: list[Token], is_cut: bool):
    blocks = [token for token in tokens if token.type in ("inline", "fence", "code_block")]
    texts = [shown_text(block) for block in blocks]
    # Masks all of them together: one block may say what a number in the next one is.
    lines = mask("\n".join(texts), cut_end=is_cut).split("\n")
    for block, text in zip(blocks, texts, strict=True):
        number = text.count("\n") + 1
        masked, lines = "\n".join(lines[:number]), lines[number:]
        mask_block(block, text, masked)


def shown_text(block: Token) -> str:
    """A block's text as the page shows it."""
    if block.children is None:
        return block.content
    breaks = ("softbreak", "hardbreak")
    return "".join("\n" if each.type in breaks else each.content for each in block.children)


def mask_block(block: Token, text: str, masked: str):
    """Put the masked text, without markup, into a block that would show personal data."""
    block.info = mask(block.info)
    if block.children is None:
        block.content = masked
        return
    addresses = [unquote(str(value)) for each in block.children for value in each.attrs.values()]
    if masked != text or any(mask(each) != each for each in addresses):
        block.children = [Token("text", "", 0, content=masked)]


def message_text(
    message, content, term, as_source, length: int | None = None, *, on_paper: bool = False
):
    """
    A message as safe HTML: the source if `as_source`; else the text of its parts; a program's JSON
    as a tree; an agent's text as Markdown; anything else exactly as typed.

    `content` is the whole message, or the beginning of one with `length` characters.
    """
    if as_source:
        return text_block(as_plain_text(content, term), "source")
    is_cut = length is not None and length > len(content)
    source = masking.raw(content)
    if found := parts(source):
        note = found.note and format_html('<p class="parts" dir="auto">{}</p>', masked(found.note))
        return format_html("{}{}", part_text(message.role, found.text, term, is_cut), note)
    if message.role in PROGRAMS and is_tree(source, is_cut):
        return json_tree(message, source, term, is_cut, length is None, on_paper)
    if message.role == AGENT:
        return markdown_block(content, content, term, is_cut)
    return text_block(as_typed(content, term, is_cut=is_cut), "source")


def part_text(role: str, text: str, term: str, is_cut: bool) -> SafeString:
    if not text:
        return SafeString("")
    typed = masked(text, is_cut)
    if role == AGENT:
        return markdown_block(text, typed, term, is_cut)
    return text_block(as_typed(typed, term, is_cut=is_cut), "source")


def markdown_block(source: str, typed: str, term: str, is_cut: bool) -> SafeString:
    """An agent's text; `typed`, its masked text, is shown if Markdown cannot be rendered."""
    if (html := formatted(source, term, is_cut=is_cut)) is not None:
        return text_block(html, "markdown")
    return text_block(as_typed(typed, term, is_cut=is_cut), "markdown plain")


def text_block(html: str, kind: str) -> SafeString:
    return format_html('<div class="text {}" dir="auto">{}</div>', kind, html)


def masked(text: str, is_cut: bool = False) -> str:
    return mask(text, cut_end=is_cut) if masking.is_active() else text


def is_tree(source: str, is_cut: bool) -> bool:
    """Whether it is a JSON object, a list, or a text in which json.dumps() escaped letters."""
    begins = source.lstrip()[:1]
    if begins == '"' and not ("\\" in source and source.isascii()):
        return False
    return begins in ("{", "[", '"') and json_text.is_json(source, is_cut=is_cut)


def json_tree(
    message, source: str, term: str, is_cut: bool, on_own_page: bool, on_paper: bool
) -> SafeString:
    """A message as a tree; if parts are left out, it links to the whole message."""
    text = mask_json(source, cut_end=is_cut) if masking.is_active() else source
    limits = WHOLE if on_own_page or on_paper else {}
    # Everything is open on paper, where nothing can be opened, and if there are hits to be seen.
    tree = json_text.tree(text, **limits, **(ALL_OPEN if on_paper or term.strip() else {}))
    page = reverse("conversations:message", args=[message.session_id, message.pk])
    context = {"tree": tree, "term": term}
    if not tree.whole and not is_cut:
        context["rest"] = f"{page}?source" if on_own_page else page
        context["on_own_page"] = on_own_page
    return render_to_string("conversations/display/_json_message.html", context)
