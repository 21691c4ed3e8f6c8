"""The benchmark's random combinations of filters."""

from datetime import date

import pytest
from django.http import QueryDict

from bench.sweep import NUMBER, Known, combinations
from conversations.models import Session
from conversations.selection.filters import ConversationFilter

from ..support.factories import make_agent, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def known():
    agent = make_agent()
    session = make_session(agent, external_id="user-1")
    return Known(date(2026, 6, 1), [str(agent.id)], session.external_id, str(session.id))


def test_every_filter_of_the_list_is_in_some_combination(known):
    names = {name for filters in combinations(known) for name in filters}
    assert names == set(ConversationFilter.base_filters) - {"tz"}


def test_the_combinations_are_valid_and_always_the_same(known):
    found = combinations(known)
    assert found == combinations(known)
    assert len({tuple(sorted(filters.items())) for filters in found}) == NUMBER
    for filters in found:
        data = QueryDict(mutable=True)
        data.update(filters)
        given = ConversationFilter(data, queryset=Session.objects.all())
        assert given.is_valid(), given.errors
