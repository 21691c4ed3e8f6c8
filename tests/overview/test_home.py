"""Home: what each part says, in every state that it may be in."""

from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from overview.models import Progress

from ..support.factories import (
    NULL,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
)
from ..support.figures import CHARTS, FIGURES, NOW, last_quarter, roll_up
from ..support.masking import EMAIL, masking_on
from ..support.pages import HTMX, get, text

pytestmark = pytest.mark.django_db
PARTS = (FIGURES, CHARTS, "/home/rising/", NOW)


def tile(page, label) -> list[tuple[str, str]]:
    """(number, note) of today and of the last 7 days, each with that of the period before."""
    [found] = [tile for tile in page.context["overview"].tiles if tile.label == label]
    return [
        (number.words, number.note) for pair in found.pairs for number in (pair.shown, pair.before)
    ]


def of_week(page, label) -> tuple[str, str]:
    return tile(page, label)[2]


def make_week():
    """31 runs with an answer, one of them slow, two without, and a call that has no price."""
    at = last_quarter() - timedelta(days=2)
    session = make_session(make_agent("Shop"), external_id="ben", created_at=at, updated_at=at)
    for number in range(31):
        moment = at + timedelta(seconds=number)
        make_message(session, created_at=moment)
        seconds = 60 if number == 30 else 2
        make_run(session, created_at=moment, duration_seconds=seconds)
    for _ in range(2):
        other = make_session(external_id="ann", created_at=at, updated_at=at)
        make_run(other, created_at=at, output_data=NULL)
    used = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    make_model_call(session, model="openai/gpt-4o", created_at=at, **used)
    make_model_call(session, model="nobody-knows", created_at=at, **used)


def test_it_says_what_happened(support_client):
    make_week()
    roll_up()
    page = get(support_client, FIGURES)
    assert of_week(page, "Conversations") == ("3", "")
    assert of_week(page, "Messages") == ("31", "")
    assert of_week(page, "People without an answer") == ("1", "in 2 conversations")
    assert of_week(page, "Conversations with a problem") == ("2", "")
    assert of_week(page, "Time to an answer, median") == ("2.0 s", "of 31 answers")
    assert of_week(page, "Time to an answer, 95th percentile") == ("2.0 s", "of 31 answers")
    assert of_week(page, "Tokens") == ("2,000,000", "")
    assert of_week(page, "Cost of model calls") == (
        "at least $2.50",
        "1 of 2 calls has no price",
    )
    assert tile(page, "Conversations")[3] == ("0", "")
    assert "at least $2.50 (1 of 2 calls has no price)" in text(page)
    failed = page.context["overview"].kinds[0]
    assert (failed.label, failed.numbers[2].words) == ("Run failed", "2")


def test_days_without_anything_are_zeros_and_gaps(support_client):
    make_week()
    roll_up()
    page = get(support_client, CHARTS, period="7d")
    charts = {chart.title: chart for chart in page.context["charts"]}
    conversations = [point.numbers for point in charts["Conversations per day"].points]
    assert sorted(conversations) == [[0]] * 6 + [[3]]
    seconds = [point.numbers for point in charts["Time to an answer per day"].points]
    assert seconds.count([None, None]) == 6
    runs = [point.words for point in charts["Runs per day"].points]
    assert ["33", "2"] in runs
    cost = charts["Cost of model calls per day"]
    assert cost.note == "Together at least $2.50 (1 of 2 calls has no price)"
    assert [point.words for point in cost.points].count(["at least $2.50"]) == 1
    assert [point.until for point in charts["Runs per day"].points][:-1] == [""] * 6
    [agent] = [row for row in page.context["agents"] if row.label == "Shop"]
    assert (agent.conversations.words, agent.troubled.words) == ("1", "0")


def test_few_answers_are_marked(support_client):
    session = make_session(make_agent("Shop"))
    make_run(session)
    roll_up()
    page = get(support_client, FIGURES)
    assert of_week(page, "Time to an answer, median")[1] == "of 1 answer"
    assert 'class="faint"' in page.content.decode()
    assert "of fewer than 20, too few to rely on" in text(get(support_client, CHARTS))


def test_without_figures_it_says_so_and_offers_what_is_there(support_client):
    session = make_session(make_agent("Shop"))
    make_run(session, output_data=NULL)
    page = get(support_client, "/")
    assert "There are no figures yet." in text(page)
    assert FIGURES not in page.content.decode()
    assert str(session.id) in get(support_client, NOW).content.decode()
    for part in PARTS[:2]:
        assert "There are no figures to show." in text(get(support_client, part))


def test_with_no_conversation_at_all(support_client):
    roll_up()
    assert "Figures are as of" in text(get(support_client, "/"))
    assert of_week(get(support_client, FIGURES), "Conversations") == ("0", "")
    assert "No agent had a conversation in this period." in text(get(support_client, CHARTS))
    assert "No run is going on." in text(get(support_client, NOW))
    assert "No error is rising today." in text(get(support_client, PARTS[2]))


def test_old_figures_say_how_old_they_are(support_client):
    roll_up()
    assert "These figures are from" not in text(get(support_client, "/"))
    Progress.objects.update(as_of=timezone.now() - timedelta(hours=3))
    assert "These figures are from 3 hours ago" in text(get(support_client, "/"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_page_and_a_fragment(support_client, part):
    roll_up()
    page, fragment = get(support_client, part), get(support_client, part, HTMX)
    assert "<html" in page.content.decode()
    assert fragment.content.decode().lstrip().startswith(f'<section id="{part.split("/")[2]}"')


@pytest.mark.parametrize("path", ["/", *PARTS])
@pytest.mark.parametrize("query", ["period=3d", "tz=Mars/Base", "tz=UTC&tz=UTC", "typo=1"])
def test_an_address_that_makes_no_sense_shows_nothing(support_client, path, query):
    make_week()
    roll_up()
    page = get(support_client, f"{path}?{query}")
    assert 'class="tiles"' not in page.content.decode()
    assert "hx-trigger" not in page.content.decode()
    assert "Shop" not in text(page)


def test_the_zone_of_the_address_counts(support_client):
    support_client.cookies["timezone"] = "Europe/Tallinn"
    roll_up()
    page = text(get(support_client, "/", tz="Asia/Kathmandu"))
    assert "Days and times are in Asia/Kathmandu , show them in Europe/Tallinn" in page
    links = {
        number.link for number in get(support_client, FIGURES).context["overview"].kinds[0].numbers
    }
    assert all("tz=Europe%2FTallinn" in link for link in links)


def test_running_now_is_what_the_list_finds(support_client):
    for _ in range(7):
        make_run(make_session(make_agent()), output_data=NULL, duration_seconds=None,
                 updated_at=timezone.now())  # fmt: skip
    page = get(support_client, NOW)
    assert "Running now 7 conversations" in text(page)
    assert len(page.context["running"][0].rows) == 5


def test_before_0006_nothing_is_known_to_run(support_client, at_revision):
    at_revision("0002")
    page = get(support_client, NOW)
    assert page.context["running"] is None
    assert "Running now" not in text(page)


def test_names_of_agents_are_masked_and_stay_text(viewer_client, settings):
    make_run(make_session(make_agent(f"<script>alert(1)</script> {EMAIL}")), output_data=NULL)
    roll_up()
    with masking_on(settings):
        for path in ("/", *PARTS):
            html = get(viewer_client, path).content.decode()
            assert "<script>alert" not in html
            assert EMAIL not in html


@pytest.mark.parametrize("number", [1, 60])
def test_queries_do_not_depend_on_how_much_there_is(
    support_client, django_assert_num_queries, number
):
    for place in range(number):
        make_run(make_session(make_agent(f"Agent {place}")), output_data=NULL)
    roll_up()
    # The revision is looked up once per process.
    get(support_client, NOW)
    for path, of_agents, of_ours in (("/", 0, 1), (FIGURES, 0, 13), (CHARTS, 1, 7)):
        with django_assert_num_queries(of_agents, connection=connections["agents"]):
            get(support_client, path)
        # Besides who is signed in.
        with django_assert_num_queries(of_ours + 2, connection=connections["default"]):
            get(support_client, path)


def test_sixty_agents_fold_away_but_ten(support_client):
    for place in range(60):
        make_run(make_session(make_agent(f"Agent {place:02}")), output_data=NULL)
    roll_up()
    page = get(support_client, CHARTS)
    assert len(page.context["agents"]) == 60
    assert "All 60 agents" in text(page)
