import shutil

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from bench.against import refuse_other_migrations


@pytest.fixture
def other(tmp_path):
    """A revision with today's migrations."""
    for folder in settings.BASE_DIR.glob("*/migrations"):
        shutil.copytree(folder, tmp_path / folder.relative_to(settings.BASE_DIR))
    return tmp_path


def test_a_revision_with_the_same_migrations_is_compared(other):
    refuse_other_migrations("v1", other)


def test_a_revision_that_lacks_a_migration_is_refused(other):
    (other / "accounts" / "migrations" / "0001_initial.py").unlink()
    with pytest.raises(CommandError, match=r"v1 .*: .* accounts/migrations/0001_initial.py"):
        refuse_other_migrations("v1", other)


def test_a_revision_with_a_migration_of_its_own_is_refused(other):
    (other / "audit" / "migrations" / "9999_newer.py").write_text("")
    with pytest.raises(CommandError, match=r"audit/migrations/9999_newer.py"):
        refuse_other_migrations("v1", other)


def test_a_revision_that_changed_a_migration_is_refused(other):
    with (other / "audit" / "migrations" / "0001_initial.py").open("a") as file:
        file.write("# Another index.\n")
    with pytest.raises(CommandError, match=r"audit/migrations/0001_initial.py"):
        refuse_other_migrations("v1", other)


@pytest.mark.parametrize("more", ["--only=list", "--against=HEAD", "--sizes=10000,20000"])
def test_another_database_is_only_compared_by_itself(more):
    with pytest.raises(CommandError, match="--beside takes one size"):
        call_command("bench", "--beside=postgresql:///other", "--sizes=10000", more)
