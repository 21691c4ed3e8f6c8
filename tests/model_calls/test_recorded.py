"""The page Model calls on the databases that the real runtime wrote, against SQL."""

import pytest
from django.db import connections

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401
from ..support.pages import get

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.thorough,
    pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here."),
]
# {query of the page: condition}. These databases have calls of one provider, without a cache.
FILTERS = {
    "": "true",
    "status=failed": "response_code IS NULL OR response_code >= 400",
    "status=ok": "response_code < 400",
    "slow=1": "duration_seconds >= 1",
    "type=llm&status=none": "response_code IS NULL",
}


@pytest.mark.parametrize("query", FILTERS)
def test_totals_are_those_of_sql(recorded, support_client, query):  # noqa: F811
    with connections["agents"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(total_tokens), 0), coalesce(sum(duration_seconds), 0)"
            f" FROM model_call_stats WHERE {FILTERS[query]}"
        )
        calls, tokens, seconds = cursor.fetchone()
    found = get(support_client, f"/model-calls/totals/?{query}").context["totals"]
    assert (found.calls, found.tokens) == (calls, tokens)
    assert found.seconds == pytest.approx(float(seconds))


def test_pages_show_each_call_once(recorded, support_client):  # noqa: F811
    with connections["agents"].cursor() as cursor:
        cursor.execute("SELECT id FROM model_call_stats ORDER BY created_at DESC, id DESC")
        expected = [pk for (pk,) in cursor.fetchall()]
    shown, after = [], ""
    while True:
        page = get(support_client, f"/model-calls/?after={after}")
        shown += [row.pk for row in page.context["rows"]]
        after = page.context["next_cursor"]
        if not after:
            break
    assert shown == expected
