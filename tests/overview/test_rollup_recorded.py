"""Every figure of the databases that the real runtime wrote, against SQL."""

import pytest
from django.core.management import call_command

from overview.models import Activity, Cell, Fact, Progress, Stale

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401
from ..support.expected_figures import assert_figures_are_right, everything_kept

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.thorough,
    pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here."),
]


def test_every_figure_agrees_with_sql(recorded):  # noqa: F811
    call_command("rollup")
    assert Fact.objects.count() == 82
    assert Activity.objects.count() >= 82
    assert Cell.objects.exists()
    assert not Stale.objects.exists()
    assert Progress.objects.get().as_of
    assert_figures_are_right()
    kept = everything_kept()
    call_command("rollup")
    assert everything_kept() == kept
