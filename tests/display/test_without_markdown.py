"""Previews and excerpts read like the rendered text on the conversation's page."""

import time

import pytest

from conversations.display.without_markdown import without_markdown


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("**Bold** and *slanted*, ***both***", "Bold and slanted, both"),
        ("**Bold with *slanted* in it**", "Bold with slanted in it"),
        ("# One\n## Two #2", "One\nTwo #2"),
        ("Run `ls -l` or ``a`b``", "Run ls -l or a`b"),
        ("```python\nprint(1)\n```", "\nprint(1)\n"),
        ("[the order](https://shop.example/a_(1))", "the order"),
        ('[it](https://shop.example "Title"), ![photo](https://shop.example/1.png)', "it, photo"),
        ("* one\n* two", "• one\n• two"),
        ("~~old~~ new", "old new"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "| a | b |\n\n| 1 | 2 |"),
        ("Total\n=====\nfive", "Total\n\nfive"),
    ],
)
def test_signs_are_left_out(source, words):
    assert without_markdown(source) == words


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("his is **important** and **this is c", "his is important and this is c"),
        ("ortant** and more", "ortant and more"),
        ("see [the order](https://shop.examp", "see the order"),
        ("run `ls", "run ls"),
    ],
)
def test_a_cut_text_may_have_one_of_a_pair(source, words):
    assert without_markdown(source) == words


@pytest.mark.parametrize(
    "text",
    [
        "2**3**4 is 2 ** 81, 4 * 5 * 6",
        "f(**kwargs) and __init__ and snake_case_name",
        "ticket #5, C#, it`s",
        "[x](javascript:alert(1)) [y](/here) a[1](2)",
        "- one",
        "> 5 days",
        "---",
        "**",
        "```",
        "",
    ],
)
def test_characters_that_are_not_markdown_stay(text):
    assert without_markdown(text) == text


@pytest.mark.parametrize(
    "piece",
    ["*", "**a", "*a ", "[", "[a](http://", "[a](http://(", "`", "~~a", "# ", " ", "-", "|-"],
)
def test_hostile_texts_are_handled_quickly(piece):
    text = piece * (2_000 // len(piece))
    began = time.thread_time()
    without_markdown(f"{text}*")
    assert time.thread_time() - began < 0.5
