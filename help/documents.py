"""Shows documents as pages: those listed here, and the pictures beside them."""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

# {readers: the documents' names in addresses}. A name that is not listed here is never looked for
# on the disk.
SHELVES = {
    "For everyone": ("overview", "export", "changelog"),
    "For admins": ("accounts", "privacy", "notify"),
    "For whoever runs the site": (
        *("operating", "indexes", "scale", "reliability", "security", "benchmarks"),
    ),
    "For engineers": ("architecture",),
}
PATHS = {name: f"docs/{name}.md" for names in SHELVES.values() for name in names}
PATHS["changelog"] = "CHANGELOG.md"
NAMES = {path: name for name, path in PATHS.items()}

# Lets a wide table scroll on its own, also with the keyboard.
TABLE = '<div class="scroll" role="group" aria-label="Table" tabindex="0">'


@dataclass(frozen=True)
class Rendered:
    html: SafeString
    # (anchor, title) of each h2.
    sections: list[tuple[str, str]]


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    # The Markdown after the title.
    body: str

    @cached_property
    def summary(self) -> str:
        """The first paragraph, which says what the document is about and for whom."""
        paragraph = self.body.strip().partition("\n\n")[0]
        return plain(parser().parseInline(paragraph)[0])

    @cached_property
    def rendered(self) -> Rendered:
        """Cached per process, because the longest document takes 25 ms."""
        tokens = parser().parse(self.body)
        sections = with_anchors(tokens)
        folder = posixpath.dirname(PATHS[self.name])
        for token in tokens:
            if token.type == "inline":
                token.children = with_addresses(token.children, folder)
        html = parser().renderer.render(with_scrolling_tables(tokens), parser().options, {})
        # These are our own texts, and even in them the parser allows no HTML.
        return Rendered(mark_safe(html), sections)  # noqa: S308


@cache
def document(name: str) -> Document | None:
    """None if the document is not listed or not installed."""
    file = settings.BASE_DIR / PATHS[name] if name in PATHS else None
    return read(name, file.read_text("utf-8")) if file and file.is_file() else None


def read(name: str, text: str) -> Document:
    title, _, body = text.partition("\n")
    return Document(name, title.removeprefix("# "), body)


@cache
def shelves() -> list[tuple[str, list[Document]]]:
    """[(readers, documents)], without documents that are not installed."""
    found = []
    for readers, names in SHELVES.items():
        documents = [each for each in map(document, names) if each]
        if documents:
            found.append((readers, documents))
    return found


@cache
def pictures() -> dict[str, Path]:
    return {path.name: path for path in (settings.BASE_DIR / "docs").glob("*.png")}


@cache
def parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def plain(inline: Token) -> str:
    return "".join(" " if child.type == "softbreak" else child.content for child in inline.children)


def with_anchors(tokens: list[Token]) -> list[tuple[str, str]]:
    """Give each heading the same anchor as on GitHub. Return [(anchor, title)] of each h2."""
    used: Counter[str] = Counter()
    sections = []
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            title = plain(tokens[place + 1])
            anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
            used[anchor] += 1
            if used[anchor] > 1:
                anchor += f"-{used[anchor] - 1}"
            token.attrSet("id", anchor)
            if token.tag == "h2":
                sections.append((anchor, title))
    return sections


def with_scrolling_tables(tokens: list[Token]) -> list[Token]:
    found = []
    for token in tokens:
        if token.type == "table_open":
            found.append(html(TABLE))
        # Markdown-it aligns columns of numbers with an inline style, which our CSP does not allow.
        elif token.attrs.pop("style", "") == "text-align:right":
            token.attrSet("class", "number")
        found.append(token)
        if token.type == "table_close":
            found.append(html("</div>\n"))
    return found


def with_addresses(children: list[Token], folder: str) -> list[Token]:
    """
    Make links between documents lead to their pages. A link to a file that is in the repository but
    not on this site, such as an nginx example, becomes text with the file's path.
    """
    found: list[Token] = []
    # For a link that leads nowhere on this site: the file's path, and where the link's text begins.
    path, begins = "", 0
    for child in children:
        if child.type == "link_open":
            address = page_of(str(child.attrGet("href")), folder)
            if address:
                child.attrSet("href", address)
            else:
                path, begins = in_repository(str(child.attrGet("href")), folder), len(found)
                continue
        elif child.type == "link_close" and path:
            if path != "".join(each.content for each in found[begins:]).strip("/"):
                code = Token("code_inline", "code", 0, content=path)
                found += [text(" ("), code, text(")")]
            path = ""
            continue
        elif child.type == "image":
            path_of_picture = in_repository(str(child.attrGet("src")), folder)
            file = posixpath.basename(path_of_picture)
            if path_of_picture != f"docs/{file}" or file not in pictures():
                found.append(text(child.content))
                continue
            child.attrSet("src", reverse("help:picture", args=[file]))
        found.append(child)
    return found


def page_of(link: str, folder: str) -> str:
    """The address here of a link in a document in `folder`, or "" if it leads nowhere."""
    if link.startswith("#") or re.match(r"https?://|mailto:", link):
        return link
    path, hash_sign, anchor = link.partition("#")
    name = NAMES.get(in_repository(path, folder))
    return reverse("help:document", args=[name]) + hash_sign + anchor if name else ""


def in_repository(link: str, folder: str) -> str:
    return posixpath.normpath(posixpath.join(folder, link.partition("#")[0]))


def text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def html(content: str) -> Token:
    return Token("html_block", "", 0, content=content)
