"""The page of one agent: what it is, and Home's figures for it alone."""

import json
import uuid
from datetime import timedelta

import pytest
from django.db import connections

from overview.agents.schemas import MOST_CHOICES, MOST_FIELDS, Reading, schema

from ..support.factories import NULL, Json, make_agent, make_message, make_run, make_session
from ..support.figures import last_quarter, list_links, listed, make_edges, roll_up
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.masking import EMAIL, masking_on
from ..support.pages import HTMX, get, text

pytestmark = pytest.mark.django_db
PARTS = ("figures", "workflow", "charts", "changes")


def path(agent, part="") -> str:
    return f"/agents/{agent.id}/{part}{'/' if part else ''}"


def test_it_says_what_the_agent_is(support_client):
    takes = {"type": "object", "properties": {"question": {"type": "string"}}}
    agent = make_agent(
        "Shop", description="Sells shoes", input_schema=Json(takes), output_schema=NULL
    )
    page = get(support_client, path(agent))
    assert "Sells shoes" in text(page)
    assert "question string no" in text(page)
    assert "The agent does not say." in text(page)
    assert f'"/conversations/?agent={agent.id}"' in page.content.decode()
    assert f'"/conversations/errors/?agent={agent.id}"' in page.content.decode()


@pytest.mark.parametrize("part", ["", *PARTS])
def test_an_unknown_agent_is_a_404(support_client, part):
    nobody = type("Row", (), {"id": uuid.uuid4()})
    get(support_client, path(nobody, part), status=404)


def test_figures_are_of_this_agent_alone_and_lead_to_as_many_conversations(support_client):
    make_edges(last_quarter(), every=2)
    build_indexes()
    roll_up()
    row = get(support_client, "/agents/").context["ranking"].rows[0]
    page = get(support_client, path(row, "figures"))
    everybody = get(support_client, "/home/figures/")
    overview = page.context["overview"]
    pairs = [pair for tile in overview.tiles for pair in tile.pairs]
    found = [number for pair in pairs for number in (pair.shown, pair.before)]
    found += [number for kind in overview.kinds for number in kind.numbers]
    told = [number for number in found if number.conversations is not None]
    assert sum(number.conversations for number in told) > 10
    for number in told:
        assert listed(support_client, number.link) == number.conversations, number
    assert all(f"agent={row.id}" in link for link in list_links(page))
    tiles = everybody.context["overview"].tiles
    for own, whole in zip(overview.tiles[:2], tiles[:2], strict=True):
        assert int(own.pairs[1].shown.words) < int(whole.pairs[1].shown.words)


@pytest.mark.slow
@pytest.mark.parametrize(("period", "zone"), [("today", "UTC"), ("7d", "Asia/Kathmandu")])
def test_each_bar_leads_to_as_many_conversations(support_client, period, zone):
    make_edges(last_quarter(), every=2)
    build_indexes()
    roll_up()
    row = get(support_client, "/agents/").context["ranking"].rows[0]
    page = get(support_client, path(row, "charts"), period=period, tz=zone)
    conversations, troubled, *others = page.context["charts"]
    assert sum(point.numbers[0] for point in conversations.points)
    for point in (*conversations.points, *troubled.points):
        assert listed(support_client, point.link) == point.numbers[0], point
    for chart in others:
        assert [each.link for each in chart.points] == [each.link for each in conversations.points]


def test_agents_of_all_conversations_add_up(support_client):
    make_edges(last_quarter(), every=4)
    roll_up()

    def tokens(where) -> int:
        return sum(
            point.numbers[0] for point in get(support_client, where).context["charts"][4].points
        )

    rows = get(support_client, "/agents/").context["ranking"].rows
    # These calls are of no agent, so they are in no agent's figures.
    assert sum(tokens(path(row, "charts")) for row in rows) == 0 < tokens("/home/charts/")


def test_without_figures_it_says_so_and_shows_what_is_known(support_client):
    agent = make_agent("Shop", description="Sells shoes")
    page = get(support_client, path(agent))
    assert "There are no figures yet." in text(page)
    assert "Sells shoes" in text(page)
    for part in ("figures", "charts"):
        assert "There are no figures to show." in text(get(support_client, path(agent, part)))


def test_an_agent_without_conversations(support_client):
    agent = make_agent("Shop")
    roll_up()
    assert "no conversations yet" in text(get(support_client, path(agent)))
    assert "Nothing in this period." in text(get(support_client, path(agent, "charts")))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_page_and_a_fragment(support_client, part):
    agent = make_agent("Shop")
    roll_up()
    page, fragment = (get(support_client, path(agent, part), headers) for headers in ({}, HTMX))
    assert "<html" in page.content.decode()
    assert fragment.content.decode().lstrip().startswith(f'<section id="{part}"')


@pytest.mark.parametrize("part", ["", *PARTS])
@pytest.mark.parametrize("query", ["period=3d", "tz=Mars/Base", "tz=UTC&tz=UTC", "sort=name"])
def test_an_address_that_makes_no_sense_shows_nothing(support_client, part, query):
    agent = make_agent("Shop")
    make_run(make_session(agent))
    roll_up()
    page = get(support_client, f"{path(agent, part)}?{query}")
    assert 'class="tiles"' not in page.content.decode()
    assert "hx-trigger" not in page.content.decode()


def test_whoever_may_not_see_the_agent_gets_a_404(client):
    shop, bank = make_agent("Shop"), make_agent("Bank")
    roll_up()
    limited = let_in_limited(client, "Support", [shop.id])
    for part in ("", *PARTS):
        get(limited, path(shop, part))
        get(limited, path(bank, part), status=404)


def test_what_others_wrote_is_masked_and_stays_text(viewer_client, settings):
    evil = f"<script>alert(1)</script> {EMAIL}"
    takes = {"properties": {evil: {"type": evil, "description": evil}}}
    agent = make_agent(evil, description=evil, input_schema=Json(takes))
    roll_up()
    with masking_on(settings):
        for part in ("", *PARTS):
            html = get(viewer_client, path(agent, part)).content.decode()
            assert "<script>alert" not in html
            assert EMAIL not in html


def test_queries_are_few(support_client, django_assert_num_queries):
    agent = make_agent("Shop")
    at = last_quarter() - timedelta(hours=1)
    for _ in range(10):
        make_message(make_session(agent, created_at=at, updated_at=at), created_at=at)
    roll_up()
    get(support_client, path(agent))
    for part, of_ours in (("", 2), ("figures", 13), ("charts", 5), ("changes", 3)):
        with django_assert_num_queries(1, connection=connections["agents"]):
            get(support_client, path(agent, part))
        # Besides who is signed in.
        with django_assert_num_queries(of_ours + 2, connection=connections["default"]):
            get(support_client, path(agent, part))


# Schemas


def fields(text) -> list[tuple]:
    return [(each.name, each.type, each.is_required) for each in schema(text).fields]


def test_a_schema_is_a_list_of_fields():
    found = fields("""{
        "$defs": {"Line": {"type": "object", "properties": {"sku": {"type": "string"}}}},
        "properties": {
            "order": {"required": ["id"], "properties": {"id": {"type": "integer"}}},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
            "state": {"enum": ["new", "open"]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "any": {}
        }
    }""")
    assert found == [
        ("order", "", False),
        ("order.id", "integer", True),
        ("lines", "list of object", False),
        ("lines[].sku", "string", False),
        ("state", "one of: new, open", False),
        ("note", "string or null", False),
        ("tags", "list of string", False),
        ("any", "", False),
    ]


def test_a_schema_that_refers_to_itself_ends():
    text = """{"$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"},
        "u": {"type": "array", "items": {"$ref": "#/$defs/T"}}}}},
        "properties": {"t": {"$ref": "#/$defs/T"}, "v": {"$ref": "#/properties/v"}}}"""
    assert 3 < len(fields(text)) <= MOST_FIELDS


def test_alternatives_that_refer_to_themselves_are_read_once(monkeypatch):
    read, read_types = [], Reading.read_types

    def counted(self, part, depth):
        read.append(part)
        assert len(read) < 1_000
        return read_types(self, part, depth)

    monkeypatch.setattr(Reading, "read_types", counted)
    own = {"$ref": "#/$defs/A"}
    document = {
        "$defs": {"A": {"anyOf": [own] * 11 + [{"type": "string"}]}},
        "properties": {f"field {number}": {"anyOf": [own] * 12} for number in range(50)},
    }
    assert {each.type for each in schema(json.dumps(document)).fields} == {"string"}


def test_of_many_types_and_choices_the_first_are_shown():
    names = [str(number) for number in range(20)]
    parts = [{"type": name} for name in names]
    for part in (
        {"type": names},
        {"anyOf": parts},
        {"oneOf": [{"anyOf": parts}, {"type": "string"}]},
    ):
        [(_, words, _)] = fields(json.dumps({"properties": {"a": part}}))
        assert words == " or ".join([*names[:MOST_CHOICES], "…"])
    [(_, words, _)] = fields(json.dumps({"properties": {"a": {"enum": names}}}))
    assert words == "one of: " + ", ".join([*names[:MOST_CHOICES], "…"])


def test_choices_are_written_as_in_json_and_nested_ones_are_named():
    found = fields('{"properties": {"a": {"enum": ["x", 1.5, true, null, {"b": 1}, []]}}}')
    assert found == [("a", "one of: x, 1.5, true, null, object, array", False)]


@pytest.mark.parametrize("key", ["enum", "type"])
def test_what_is_nested_deeper_than_python_writes_is_named(key):
    deep = "[" * 5_000 + "]" * 5_000
    [(_, words, _)] = fields(f'{{"properties": {{"a": {{"{key}": ["x", {deep}]}}}}}}')
    assert words == ("one of: x, array" if key == "enum" else "x")


@pytest.mark.parametrize(
    "text",
    ['"text"', "[1]", "{}", "7", '{"properties": []}', '{"properties": {"a": 1}}', '{"properties"',
     '{"properties": {"a": {"$ref": 7, "enum": 7, "anyOf": [7], "type": [7], "items": []}}}',
     '{"required": 7, "properties": {"a": {"type": {}, "description": []}}}', "[" * 9_000],
)  # fmt: skip
def test_whatever_is_no_schema_is_shown_as_it_is(text):
    assert schema(text).tree.nodes


def test_an_agent_without_a_schema():
    assert schema(None) is None
    assert schema("null") is None
