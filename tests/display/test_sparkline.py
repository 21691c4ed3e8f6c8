"""A small line over time: what is drawn, and what is said in words."""

from django.template.loader import render_to_string

from conversations.display.sparkline import HEIGHT, MARGIN, WIDTH, Sparkline


def line(*numbers, **fields):
    labels = [f"{place} Nov" for place, _ in enumerate(numbers, start=1)]
    return Sparkline("Calls per day", numbers, labels, **fields)


def test_zero_is_at_the_bottom_and_the_highest_number_at_the_top():
    found = line(0, 50, 100)
    assert found.line == (
        f"M{MARGIN}.0 {HEIGHT - MARGIN}.0h0L{WIDTH / 2} {HEIGHT / 2}L{WIDTH - MARGIN}.0 {MARGIN}.0"
    )
    assert found.end == f"M{WIDTH - MARGIN}.0 {MARGIN}.0h0"


def test_where_there_is_no_number_the_line_has_a_gap():
    assert line(1, None, 2, 3).line.count("M") == 2
    assert line(1, None, 2, None, 3).line.count("h0") == 3
    assert "L" not in line(1, None, 2).line


def test_zeros_one_number_and_none_can_be_drawn():
    assert line(0, 0).line.startswith(f"M{MARGIN}.0 {HEIGHT - MARGIN}.0")
    assert line(7).end == f"M{MARGIN}.0 {MARGIN}.0h0"
    assert line(None, None).line == line().line == line(None).end == ""


def test_words_name_the_first_the_highest_and_the_last():
    assert line(3, 1200, 7).words == "Calls per day: 3 (1 Nov), at most 1,200 (2 Nov), 7 (3 Nov)"
    assert line(3, None, 7).words == "Calls per day: 3 (1 Nov), 7 (3 Nov)"
    assert line(None, 3).words == "Calls per day: 3 (2 Nov)"
    assert line(None, None).words == "Calls per day: none"
    assert (
        line(0.5, 1, as_words="{:.0%}".format).words == "Calls per day: 50% (1 Nov), 100% (2 Nov)"
    )


def test_it_is_an_image_with_its_words_and_escapes_them():
    found = Sparkline("<b>", [1, 2], ["1 Nov", "<i>"])
    html = render_to_string("conversations/display/_sparkline.html", {"line": found})
    assert 'role="img"' in html
    assert "<title>&lt;b&gt;: 1 (1 Nov), 2 (&lt;i&gt;)</title>" in html
