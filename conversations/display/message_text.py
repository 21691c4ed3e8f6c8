"""
What strangers and models wrote, as HTML that is safe to show.

Markdown is CommonMark with tables; raw HTML in it stays text and images become links, so that
nothing remote is ever loaded. An allow-list then sanitises the result.
"""

import json
import re
from functools import cache
from html import escape
from urllib.parse import unquote

import nh3
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

from backoffice import json_text
from privacy import masking
from privacy.personal_data import CUT, mask

from .marks import as_plain_text, marked

# Rendering is linear but slow, about 2 µs a character; longer texts stay plain text.
MARKDOWN_UP_TO = 32_768

# Roles that write Markdown.
MARKDOWN_ROLES = ("user", "assistant")

TAGS = {
    *("h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "a"),
    *("ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
}
# No relative links: they would lead to our own pages.
LINK = re.compile(r"(?:https?://|mailto:|tel:)", re.IGNORECASE)
# Headings of a message must not compete with the page's.
SHIFTED = {"h1": "h4", "h2": "h5", "h3": "h6", "h4": "h6", "h5": "h6"}


@cache
def parser() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 50})
    markdown.enable("table")
    markdown.add_render_rule("image", image_as_link)
    return markdown


def image_as_link(self, tokens, place, options, env):
    image = tokens[place]
    address = escape(str(image.attrGet("src")))
    return f'<a href="{address}">{escape(image.content) or address}</a>'


def grows(content: str) -> bool:
    """Whether filling in a table's missing cells outgrows the text: a few lines make 65,000."""
    lines = content.split("\n")
    return len(lines) * max(line.count("|") for line in lines) > len(content)


def as_markdown(content: str, term: str = "") -> SafeString:
    """The text rendered and sanitised, with the term marked where it is visible."""
    if len(content) > MARKDOWN_UP_TO or grows(content):
        return as_plain_text(content, term)
    html = rendered(content)
    # Many links may refer to one long address.
    if len(html) > 30 * len(content) + 1000:
        return as_plain_text(content, term)
    html = re.sub(r"<(/?)(h[1-5])>", lambda tag: f"<{tag[1]}{SHIFTED[tag[2]]}>", html)
    html = nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=only_absolute_links,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return mark_safe(marked(html, term))  # noqa: S308


def rendered(content: str) -> str:
    """
    The Markdown as HTML. Personal data is masked in what the page shows: in the source, markup and
    escapes may stand between its letters.
    """
    if not masking.is_active():
        return parser().render(content)
    source = masking.raw(content)
    is_cut = content.endswith(CUT) and not source.endswith(CUT)
    tokens = parser().parse(source)
    blocks = [token for token in tokens if token.type in ("inline", "fence", "code_block")]
    texts = [shown(block) for block in blocks]
    # All of them at once: what one is about may stand in the one before.
    lines = mask("\n".join(texts), cut_end=is_cut).split("\n")
    for block, text in zip(blocks, texts, strict=True):
        number = text.count("\n") + 1
        masked, lines = "\n".join(lines[:number]), lines[number:]
        mask_block(block, text, masked)
    return parser().renderer.render(tokens, parser().options, {})


def shown(block: Token) -> str:
    """The text of a block as the page shows it."""
    if block.children is None:
        return block.content
    breaks = ("softbreak", "hardbreak")
    return "".join("\n" if each.type in breaks else each.content for each in block.children)


def mask_block(block: Token, text: str, masked: str):
    """Put the masked text, without markup, into a block that shows personal data."""
    block.info = mask(block.info)
    if block.children is None:
        block.content = masked
        return
    addresses = [unquote(str(value)) for each in block.children for value in each.attrs.values()]
    if masked != text or any(mask(each) != each for each in addresses):
        block.children = [Token("text", "", 0, content=masked)]


def only_absolute_links(tag: str, name: str, value: str) -> str | None:
    return None if name == "href" and not LINK.match(value) else value


def message_text(message, content, term, as_source):
    """
    A message's content as safe HTML: the plain source if asked for, a tree if it is JSON, and
    Markdown for users and agents.
    """
    if as_source:
        return text_block(as_plain_text(content, term), "source")
    stripped = content.lstrip()
    if stripped.startswith(("{", "[")) and (tree := json_tree(content)):
        return render_to_string("conversations/display/_json.html", {"tree": tree})
    if message.role in MARKDOWN_ROLES:
        return text_block(as_markdown(content, term), "markdown")
    return text_block(as_plain_text(content, term), "source")


def text_block(html, kind):
    return format_html('<div class="text {}" dir="auto">{}</div>', kind, html)


def json_tree(content):
    """The tree of content that is JSON; None if it only looks like JSON."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return None
    return json_text.tree(content)
