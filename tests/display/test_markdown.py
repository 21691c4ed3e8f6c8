"""The Markdown of agents: nothing in it is dropped."""

import re
from html import unescape
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conversations.display.message_text import as_markdown

from .test_message_text import Elements, assert_allowed


def visible(content: str) -> str:
    """The text that a page shows, including line breaks and list numbers."""
    html = as_markdown(content)
    html = re.sub(r"<br>\n?", "\n", html)
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("[ORDER]: 4711-A", "[ORDER]: 4711-A"),
        ("Done.\n\n[ORDER]: 4711-A 'gone'", "Done.\n[ORDER]: 4711-A 'gone'"),
        ("[terms](/terms) and [x](y)", "[terms](/terms) and [x](y)"),
        (r"so \(a_1 * b_1\) is", r"so \(a_1 * b_1\) is"),
        ("\\[\n\\frac{a}{b} * c * d\n\\]", "\\[\n\\frac{a}{b} * c * d\n\\]"),
        *[(each, each) for each in (
            r"Let $\{x\}$ be $a\_b$, with $x\;y$ and $x_{i}^{*} y_{j}^{*}$, and $50\%$.",
            "$$\n\\frac{a}{b}\\;x_i^{*} + y^{*}\n$$",
            r"\begin{align*} a &= b^{*}\, c^{*} \end{align*} so",
            "costs $5_000 or $6_000, $$",
        )],
        (r"$a\_b", "$a_b"),
        ("from $5 to *maybe* $10, **$5** or **$10**", "from $5 to maybe $10, $5 or $10"),
        ("`$a` and *b* in ${HOME}", "$a and b in ${HOME}"),
        (r"\\server\share", r"\\server\share"),
        (r"an open \( or \[ stays", r"an open \( or \[ stays"),
        ("100*100/400*56", "100*100/400*56"),
        ("**Total:** 3*4*5", "Total: 3*4*5"),
        ("2**10 and 3**4", "2**10 and 3**4"),
        ("(a+b)*(c+d)*2", "(a+b)*(c+d)*2"),
        ("an *emphasised* word", "an emphasised word"),
        ("> " * 60 + "deep", "> " * 60 + "deep"),
        ("#", "#"),
        ("-", "-"),
        ("```4711-A\n```", "4711-A"),
        ("007. Bond", "007. Bond"),
        (r"1\. not a list, \*no\* emphasis", "1. not a list, *no* emphasis"),
        ("[](https://example.com/4711)", "https://example.com/4711"),
        ("_https://example.com/a_b_c_", "https://example.com/a_b_c"),
    ],
)  # fmt: skip
def test_no_text_disappears(content, shown):
    assert visible(content) == shown


def test_a_table_row_keeps_cells_beyond_the_header():
    content = "| a |\n|---|\n| 1 | 4711 | **x** |\n| 2 |\n\n> | b |\n> |---|\n> 3 | 4712"
    parsed = assert_allowed(as_markdown(content))
    assert parsed.text.split() == ["a", "1", "4711", "x", "2", "b", "3", "4712"]
    assert parsed.names().count("td") == 6


@pytest.mark.parametrize(
    ("content", "starts"),
    [
        ("1. a\n5. b\n8. c", [None, "5", "8"]),
        ("1. a\n2. b\n3. c", [None]),
        ("0. a\n1. b", ["0"]),
        ("3) a\n4) b\n\n10) c", ["3", "10"]),
        ("2. a\n\n   7. b\n   9. c\n3. d", ["2", "7", "9"]),
    ],
)
def test_lists_keep_the_numbers_that_the_agent_wrote(content, starts):
    parsed = assert_allowed(as_markdown(content))
    assert [each.get("start") for each in parsed.all("ol")] == starts
    assert len(parsed.all("li")) == len(re.findall(r"\d+[.)]", content))


def test_br_breaks_the_line_in_a_cell_and_is_text_elsewhere():
    table = "| a<br>b <BR/> c | `<br>` \\<br> |\n|---|---|"
    assert "a<br>\nb <br>\n c</th>" in as_markdown(table)
    assert visible(table).endswith("<br> <br>")
    assert visible("write <br> there") == "write <br> there"


def test_strikethrough_and_tasks():
    html = as_markdown("~~no~~\n\n- [ ] open\n- [x] done\n- [X] done\n- [y] no box\n\n[ ] no item")
    assert "<s>no</s>" in html
    boxes = ["no", "☐", "open", "☑", "done", "☑", "done", "[y]", "no", "box"]
    assert Elements(html).text.split() == [*boxes, "[", "]", "no", "item"]


@pytest.mark.parametrize(
    ("content", "address"),
    [
        ("see https://example.com/a_b_c?d=1&e=2.", "https://example.com/a_b_c?d=1&e=2"),
        ("(https://example.com/x_(y))", "https://example.com/x_(y)"),
        ("**https://example.com/**", "https://example.com/"),
        ("请看https://example.com/a。谢谢", "https://example.com/a"),
        ("HTTP://EXAMPLE.COM/ now", "HTTP://EXAMPLE.COM/"),
        ("mailto:help@example.com!", "mailto:help@example.com"),
        ("| https://example.com/1 |\n|---|", "https://example.com/1"),
    ],
)
def test_a_bare_address_is_a_link_that_shows_what_was_written(content, address):
    parsed = assert_allowed(as_markdown(content))
    assert [each["href"] for each in parsed.all("a")] == [address]
    assert address in parsed.text


@pytest.mark.parametrize(
    "content",
    [
        *("`https://example.com/`", "```\nhttps://example.com/\n```", "help@example.com"),
        *("ftp://example.com/", "www.example.com", "https:// mailto:help xhttps://example.com"),
    ],
)
def test_nothing_else_is_a_link(content):
    assert Elements(as_markdown(content)).all("a") == []


def test_an_image_in_a_link_leaves_both_addresses():
    html = as_markdown("[![Build](https://a.example/1.png)](https://b.example/2) passed")
    assert [each["href"] for each in Elements(html).all("a")] == [
        "https://b.example/2",
        "https://a.example/1.png",
    ]
    assert Elements(html).text.strip() == "Build image passed"


# Nothing is lost

# Leaves out letters of entity names and of a task's [x], which become a single character.
LETTERS = st.sampled_from("abcDEF019äŠжカ")
SYNTAX = st.sampled_from(
    [
        *"*_~`#>|-+=:!()[]{}\\<$^.,\"' \n\t&",
        *("\n\n", "](", "]: ", "- ", "1. ", "7) ", "02. ", "```", "~~~", "    ", "**", "~~"),
        *("|---|", "\n|-|-|\n", "| a | b |\n", "> ", "\\(", "\\)", "\\[", "<br>", "- [ ] "),
        *("[^1]: ", "![", "***\n", "===\n", "https://b.example/", "<https://c.de>"),
    ]
)
TEXTS = st.lists(LETTERS | SYNTAX | st.text(LETTERS, min_size=3), max_size=40).map("".join)


class Reader(Elements):
    """The text, with list numbers, and with the addresses and titles of links after their words."""

    def __init__(self, html):
        self.numbers, self.behind = [], []
        super().__init__(html)

    def handle_starttag(self, tag, attributes):
        super().handle_starttag(tag, attributes)
        given = dict(attributes)
        if tag in ("ol", "ul"):
            self.numbers.append(int(given.get("start", 1)) if tag == "ol" else None)
        elif tag == "li" and self.numbers[-1] is not None:
            self.text += f"{self.numbers[-1]}. "
            self.numbers[-1] += 1
        elif tag == "a":
            self.behind.append(f"{unquote(given.get('href', ''))} {given.get('title', '')}")

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        if tag in ("ol", "ul"):
            self.numbers.pop()
        elif tag == "a":
            self.text += self.behind.pop()


def said(text: str) -> list[str]:
    return [each for each in text.casefold() if each.isalnum()]


@settings(max_examples=300)
@given(TEXTS)
@example("[a]: b 'c'\n\n[d]: https://b.example/ 'c'")
@example("| a |\n|-|\n| b | c | d")
@example("1. a\n02. b\n\n- 3. c\n   9. d")
@example("~~~ a b\nc\n~~~")
@example("[](<a>) ![](b 'c') ![](https://b.example/ \"d\")")
def test_every_letter_and_digit_is_found_in_what_the_page_shows(content):
    html = as_markdown(content)
    assert_allowed(html)
    left = iter(said(Reader(html).text))
    # A line break in a cell is written <br>.
    missing = [letter for letter in said(content.replace("<br>", "")) if letter not in left]
    assert missing == [], html
