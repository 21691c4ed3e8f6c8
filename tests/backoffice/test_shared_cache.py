"""What one of the site's processes has cached is there for the others."""

import errno
import subprocess
import sys
import tempfile

import pytest

from backoffice.shared_cache import SharedCache

ASK = """
import os
import django
django.setup()
from django.core.cache import cache
print(cache.get("asked"))
cache.set("asked", f"by {os.getppid()}")
"""


def ask(monkeypatch, folder) -> str:
    """What another process finds, before it writes its parent's number."""
    monkeypatch.setenv("DESK_SHARED_CACHE", str(folder))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "backoffice.settings")
    command = [sys.executable, "-c", ASK]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def cache(tmp_path):
    return SharedCache(str(tmp_path / "shared"), {})


def test_processes_with_the_same_folder_share_it(monkeypatch, tmp_path):
    assert ask(monkeypatch, tmp_path) == "None"
    assert ask(monkeypatch, tmp_path).startswith("by ")
    assert ask(monkeypatch, "") == "None"


def test_a_folder_that_was_deleted_is_made_again(cache, tmp_path):
    (tmp_path / "shared").rmdir()
    assert cache.get("number") is None
    cache.set("number", 7)
    assert cache.get("number") == 7


def test_a_full_disk_only_costs_the_entry(cache, monkeypatch):
    cache.set("number", 7)

    def mkstemp(dir):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    cache.set("other", 8)
    assert cache.get_many(["number", "other"]) == {"number": 7}
