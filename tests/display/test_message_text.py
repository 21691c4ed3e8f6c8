"""Markdown from strangers and models as HTML: what it may become, and what it may never become."""

import re
from html import escape
from html.parser import HTMLParser

import pytest

from conversations.display.marks import as_plain_text, marked
from conversations.display.message_text import MARKDOWN_UP_TO, as_markdown

from ..support.payloads import PAYLOADS

TABLE = ("table", "thead", "tbody", "tr", "th", "td")
BLOCKS = ("p", "br", "hr", "blockquote", "pre", "ul", "li", "h4", "h5", "h6")
ALLOWED = {
    **{tag: {"align"} for tag in TABLE},
    **{tag: set() for tag in (*BLOCKS, "em", "strong", "s", "mark")},
    "a": {"href", "title", "target", "rel"},
    "code": {"class"},
    "ol": {"start"},
}
DIRECTIONS = {
    **dict.fromkeys(("p", "li", "blockquote", "td", "th", "h4", "h5", "h6"), "auto"),
    **dict.fromkeys(("pre", "code"), "ltr"),
}
VOID = {"br", "hr"}
LINK = re.compile(r"(https?://|mailto:|tel:)", re.IGNORECASE)


class Elements(HTMLParser):
    """The elements of a piece of HTML, with entities resolved."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.open = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment

    def names(self):
        return [tag for tag, _ in self.found]

    def all(self, name):
        return [attributes for tag, attributes in self.found if tag == name]


def links(content):
    return Elements(as_markdown(content)).all("a")


def assert_allowed(html):
    parsed = Elements(html)
    assert parsed.open == []
    for tag, attributes in parsed.found:
        assert tag in ALLOWED
        # Each text has its own direction; code runs from left to right.
        assert attributes.pop("dir", None) == DIRECTIONS.get(tag)
        assert set(attributes) <= ALLOWED[tag]
        if "href" in attributes:
            assert LINK.match(attributes["href"])
        if tag == "a":
            assert attributes["target"] == "_blank"
            assert set(attributes["rel"].split()) == {"noopener", "noreferrer", "nofollow"}
    return parsed


def test_commonmark_renders():
    html = as_markdown(
        "Some *soft* and **hard** `code`\nnext\n\n- one\n- two\n\n3. three\n\n> said\n\n---\n\n"
        "```py\nx < y\n```"
    )
    expected = (
        '<p dir="auto">Some <em>soft</em> and <strong>hard</strong> '
        '<code dir="ltr">code</code><br>\nnext</p>\n'
        '<ul>\n<li dir="auto">one</li>\n<li dir="auto">two</li>\n</ul>\n'
        '<ol start="3">\n<li dir="auto">three</li>\n</ol>\n'
        '<blockquote dir="auto">\n<p dir="auto">said</p>\n</blockquote>\n<hr>\n'
        '<p dir="auto"><em>py</em></p>\n'
        '<pre dir="ltr"><code class="language-py" dir="ltr">x &lt; y\n</code></pre>\n'
    )
    assert html == expected


def test_tables_render():
    parsed = assert_allowed(as_markdown("| Item | Price |\n|---|---|\n| Tea | 3 |\n| Cake | 4 |"))
    assert parsed.names().count("tr") == 3
    assert parsed.names().count("th") == 2
    assert parsed.names().count("td") == 4
    assert parsed.text.split() == ["Item", "Price", "Tea", "3", "Cake", "4"]


@pytest.mark.parametrize("level", range(1, 7))
def test_headings_rank_below_those_of_the_page(level):
    tag = {1: "h4", 2: "h5"}.get(level, "h6")
    assert as_markdown(f"{'#' * level} Title") == f'<{tag} dir="auto">Title</{tag}>\n'


def test_underlined_headings_rank_below_those_of_the_page():
    assert Elements(as_markdown("One\n===\n\nTwo\n---")).names() == ["h4", "h5"]


@pytest.mark.parametrize(
    "markup",
    [
        "<b>bold</b>",
        "<script>alert(1)</script>",
        '<img src="https://evil.example/x.png">',
        "<!-- a comment -->",
        "<?php echo 1 ?>",
        "<![CDATA[x]]>",
        "<!DOCTYPE html>",
        "</p></article>",
        "<h1>Heading</h1>",
        '<a href="https://evil.example/">x</a>',
    ],
)
@pytest.mark.parametrize("frame", ["{}", "before {} after", "- {}", "> {}", "# {}", "```\n{}\n```"])
def test_raw_html_stays_visible_text(markup, frame):
    parsed = assert_allowed(as_markdown(frame.format(markup)))
    assert markup in parsed.text
    assert set(parsed.names()) <= {"p", "br", "ul", "li", "blockquote", "h4", "pre", "code"}


def test_markup_of_several_lines_stays_visible_text():
    markup = "<script>\nalert(1)\n\nalert(2)\n</script>"
    parsed = assert_allowed(as_markdown(markup))
    assert parsed.names() == ["p", "br", "p", "br"]
    assert parsed.text.split() == markup.split()


@pytest.mark.parametrize(
    "content",
    [
        "![a picture](https://evil.example/x.png)",
        '![a picture](https://evil.example/x.png "title")',
        "![a picture][1]\n\n[1]: https://evil.example/x.png",
        "![a picture]\n\n[a picture]: <https://evil.example/x.png>",
        "> - ![a picture](https://evil.example/x.png)",
    ],
)
def test_an_image_becomes_a_link(content):
    parsed = assert_allowed(as_markdown(content))
    assert [link["href"] for link in parsed.all("a")] == ["https://evil.example/x.png"]
    assert "a picture" in parsed.text


def test_an_image_leaves_nothing_but_the_link():
    content = "See ![a picture](https://evil.example/x.png)"
    assert Elements(as_markdown(content)).text.strip() == "See a picture"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "javascript&colon;alert(1)",
        "&#106;avascript:alert(1)",
        "vbscript:msgbox(1)",
        "data:text/html,x",
        "data:image/png;base64,iVBORw0KGgo=",
        "file:///etc/passwd",
        "blob:https://evil.example/x",
        "ftp://evil.example/",
        "about:blank",
        "/accounts/logout/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\\\\\evil.example/",
        "https:evil.example/",
        "accounts/logout/",
        "../../",
        "?search=x",
        "#browse",
        "",
        "\x01https://evil.example/",
    ],
)
@pytest.mark.parametrize("form", ["[x](<{}>)", "[x][1]\n\n[1]: <{}>", "<{}>", "![x](<{}>)"])
def test_other_kinds_of_link_stay_text(address, form):
    assert [link for link in links(form.format(address)) if "href" in link] == []


@pytest.mark.parametrize(
    ("content", "address"),
    [
        ("[x](https://example.com/a?b=1&c=2#d)", "https://example.com/a?b=1&c=2#d"),
        ("[x](HTTP://EXAMPLE.COM/)", "HTTP://EXAMPLE.COM/"),
        ("<https://example.com/>", "https://example.com/"),
        ("[x](mailto:help@example.com)", "mailto:help@example.com"),
        ("<help@example.com>", "mailto:help@example.com"),
        ("[x](tel:+3725551234)", "tel:+3725551234"),
        ("[x][1]\n\n[1]: https://example.com/", "https://example.com/"),
    ],
)
def test_absolute_links_open_safely(content, address):
    rel = "noopener noreferrer nofollow"
    assert links(content) == [{"href": address, "target": "_blank", "rel": rel}]


def test_the_title_of_a_link_stays_in_its_attribute():
    (link,) = links('[x](https://example.com/ "a > b &quot; onclick=alert(1)")')
    assert link["title"] == 'a > b " onclick=alert(1)'


# Marked terms


@pytest.mark.parametrize(
    ("content", "term", "html"),
    [
        ("Refund my refund", "refund", "<mark>Refund</mark> my <mark>refund</mark>"),
        ("TÜHISTA", "tühista", "<mark>TÜHISTA</mark>"),
        ("a & b amp", "amp", "a &amp; b <mark>amp</mark>"),
        ("a < b lt gt", "lt", "a &lt; b <mark>lt</mark> gt"),
        ("a & b", "&", "a <mark>&amp;</mark> b"),
        ("a & b", "a & b", "<mark>a &amp; b</mark>"),
        ("1 < 2 & 3", "< 2", "1 <mark>&lt; 2</mark> &amp; 3"),
        ('say "it\'s"', '"it\'s"', "say <mark>&quot;it&#x27;s&quot;</mark>"),
        ("1.5 is not 1x5", "1.5", "<mark>1.5</mark> is not 1x5"),
        ("What (now)? [*]", "(now)? [*]", "What <mark>(now)? [*]</mark>"),
        ("C:\\new", "\\n", "C:<mark>\\n</mark>ew"),
        ("a+b|c^$", "|c^$", "a+b<mark>|c^$</mark>"),
        ("&amp; is an entity", "amp", "&amp;<mark>amp</mark>; is an entity"),
        ("aaaa", "aa", "<mark>aa</mark><mark>aa</mark>"),
        ("nothing here", "refund", "nothing here"),
        ("nothing here", "", "nothing here"),
        ("no thing here", " ", "no thing here"),
        ("a" * 50, "(a+)+$", "a" * 50),
    ],
)
def test_a_term_is_marked_in_plain_text(content, term, html):
    assert as_plain_text(content, term) == html


@pytest.mark.parametrize(
    ("content", "term", "html"),
    [
        ("*Refund* it", "refund", '<p dir="auto"><em><mark>Refund</mark></em> it</p>\n'),
        ("p em strong", "p", '<p dir="auto"><mark>p</mark> em strong</p>\n'),
        ("Tom & amp", "amp", '<p dir="auto">Tom &amp; <mark>amp</mark></p>\n'),
        ("`x<y`", "<y", '<p dir="auto"><code dir="ltr">x<mark>&lt;y</mark></code></p>\n'),
        ("<b>x</b>", "<b>", '<p dir="auto"><mark>&lt;b&gt;</mark>x&lt;/b&gt;</p>\n'),
        ("a * b", "*", '<p dir="auto">a <mark>*</mark> b</p>\n'),
    ],
)
def test_a_term_is_marked_in_markdown(content, term, html):
    assert as_markdown(content, term) == html


@pytest.mark.parametrize(
    "term", ["https", "example", "a", "_blank", "rel", "amp", "quot", "=", ">"]
)
def test_a_term_is_never_marked_inside_a_tag(term):
    content = '[a link](https://example.com/?a=1&amp;quot=2 "a > title & \\"quote\\"")'
    plain, html = as_markdown(content), as_markdown(content, term)
    assert re.sub("</?mark>", "", html) == plain
    assert assert_allowed(html).all("a") == assert_allowed(plain).all("a")
    assert re.findall("<[^>]*<mark>", html) == []


@pytest.mark.parametrize("term", ["<script>", '"><img src=x onerror=alert(1)>', "</mark>"])
def test_a_hostile_term_is_text(term):
    content = f"before {term} after"
    for html in (as_plain_text(content, term), as_markdown(content, term)):
        assert Elements(html).text.strip() == content
        assert set(Elements(html).names()) <= {"p", "mark"}
        assert Elements(html).names().count("mark") == 1


def test_marking_html_leaves_its_tags_alone():
    html = '<p title="amp">amp &amp; <b>AMP</b></p>'
    expected = '<p title="amp"><mark>amp</mark> &amp; <b><mark>AMP</mark></b></p>'
    assert marked(html, "amp") == expected


# Long and pathological texts


def test_a_text_over_the_limit_stays_plain():
    content = "**bold** <b> [x](https://example.com/) "
    content *= MARKDOWN_UP_TO // len(content) + 1
    assert as_markdown(content, "bold") == as_plain_text(content, "bold")
    assert as_markdown(content) == escape(content, quote=False)
    assert as_markdown(content[:MARKDOWN_UP_TO]).startswith(
        '<p dir="auto"><strong>bold</strong> &lt;b&gt; <a'
    )


PATHOLOGICAL = {
    "nothing special": "word " * 6_000,
    "stars": "*" * 30_000,
    "stars and letters": "*a **b " * 4_000,
    "underscores": "_a_" * 10_000,
    "stars and underscores": "*_" * 15_000,
    "opening brackets": "[" * 30_000,
    "closing brackets": "]" * 30_000,
    "balanced brackets": "[" * 15_000 + "]" * 15_000,
    "links in links": "[" * 10_000 + "](x)" * 5_000,
    "links that never end": "[a](<b" * 5_000,
    "images": "![" * 15_000,
    "images in images": "![" * 7_000 + "x" + "](y)" * 4_000,
    "quotes in quotes": ">" * 30_000,
    "quoted lines": ("> " * 100 + "x\n") * 150,
    "lists in lists": "- " * 15_000,
    "deeper and deeper lists": "\n".join(" " * depth + "- x" for depth in range(250)),
    "lists in quotes": "> - " * 8_000,
    "backticks of every length": "".join("`" * length + "x" for length in range(250)),
    "tags that never end": "<a " * 10_000,
    "comments that never end": "<!--" * 8_000,
    "entities": "&" * 30_000,
    "definitions": "[a]: x\n" * 4_000,
    "one wide table": "|a" * 8_000 + "\n" + "|-" * 8_000,
    "backslashes": "\\" * 30_000,
    "spaces": "a" + " " * 30_000 + "\nb",
    "blank lines": "\n" * 30_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PATHOLOGICAL)
def test_a_pathological_text_renders(kind):
    content = PATHOLOGICAL[kind][:MARKDOWN_UP_TO]
    assert_allowed(as_markdown(content, "a"))


@pytest.mark.parametrize(
    "content",
    [
        "|a" * 64 + "\n" + "|-" * 64 + "\n" + "x\n" * 1_300,
        f"[a]: http://example.com/{'x' * 1_000}\n\n" + "[a]" * 600,
    ],
    ids=["missing cells", "one address for many links"],
)
def test_a_short_text_does_not_become_a_huge_page(content):
    assert len(content) < 3_000
    assert len(as_markdown(content)) < 90_000


# Hostile text


def test_there_are_enough_payloads():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 200


@pytest.mark.parametrize("content", PAYLOADS)
def test_a_hostile_text_becomes_harmless_html(content):
    for text in (content, f"# Title\n\n{content}\n\nend", f"> - {content}", content[:-1]):
        for term in ("", "script", "a", "=", "<", '"'):
            assert_allowed(as_markdown(text, term))


@pytest.mark.parametrize("content", PAYLOADS)
def test_a_hostile_text_is_unchanged_as_plain_text(content):
    for term in ("", "script", "a", "=", "<", '"'):
        parsed = Elements(as_plain_text(content, term))
        assert parsed.text == content
        assert set(parsed.names()) <= {"mark"}
