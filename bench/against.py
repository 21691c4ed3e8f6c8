"""
Today's pages beside those of another revision, or those of the same history in another agent
database: the same requests over HTTP, in turn.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from django.conf import settings
from django.core.management import CommandError

from .databases import SCHEMA, connect
from .list_cases import NOTHING
from .measuring import Case
from .site import Site, serving
from .tables import failures, table

TODAY = settings.BASE_DIR
NEWEST = f"SELECT id FROM {SCHEMA}.sessions ORDER BY updated_at DESC, id DESC LIMIT 1"  # noqa: S608
# A case at the other site, and the same at today's.
Pair = tuple[Case, Case]


def run(*command: str, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)  # noqa: S603
    if done.returncode:
        raise CommandError(f"{' '.join(command)} failed: {done.stderr.strip()}")


@contextmanager
def checked_out(revision: str):
    """The folder with another revision's files, ready to serve."""
    with TemporaryDirectory() as folder:
        root = Path(folder, "site")
        run("git", "worktree", "add", "--detach", str(root), revision, cwd=TODAY)
        try:
            refuse_other_migrations(revision, root)
            static = [sys.executable, "manage.py", "collectstatic", "--no-input"]
            run(*static, cwd=root, env=os.environ | environment(root))
            yield root
        finally:
            run("git", "worktree", "remove", "--force", str(root), cwd=TODAY)


def environment(root: Path) -> dict[str, str]:
    """The same key and local PostgreSQL as today's site, but static files of its own."""
    return {
        "DESK_DATA_DIR": str(settings.LOCAL_DATA_DIR),
        "STATIC_ROOT": str(root / ".data" / "static"),
    }


def migrations(root: Path) -> set[tuple[str, str]]:
    files = root.glob("*/migrations/*.py")
    return {(str(file.relative_to(root)), file.read_text()) for file in files}


def refuse_other_migrations(revision: str, root: Path):
    """Both revisions use one database of ours, which has today's migrations."""
    if other := sorted({name for name, _ in migrations(root) ^ migrations(TODAY)}):
        raise CommandError(
            f"{revision} cannot use today's database: other migrations in {', '.join(other)}."
        )


@contextmanager
def serving_beside(name: str, client, uri: str):
    """(the site of the agent database at `uri`, that of the benchmark's own database)"""
    with connect(name) as ours, psycopg.connect(uri) as other:
        if ours.execute(NEWEST).fetchone() != other.execute(NEWEST).fetchone():
            raise CommandError("The other agent database has another history.")
    with (
        serving(name, client, environment={"KAVALAI_DB_URI": uri}) as other,
        serving(name, client) as ours,
    ):
        yield other, ours


@contextmanager
def serving_both(name: str, client, root: Path):
    """(the other revision's site, today's site)"""
    with (
        serving(name, client, root=root, environment=environment(root)) as other,
        serving(name, client) as today,
    ):
        yield other, today


def pairs(sites: tuple[Site, Site], cases_of: Callable[[Site], list[Case]]) -> list[Pair]:
    """Each site's cases come from its own pages, because the cursors of links may differ."""
    found = list(zip(*map(cases_of, sites), strict=True))
    for case in chain(*found):
        case.bare, case.original = NOTHING, None
    return found


def compare(found: list[Pair], rounds: int, say: Callable):
    """Measure each pair once per round, in another order each time. Round 0 only warms up."""
    for number in range(rounds + 1):
        say(f"Round {number} of {rounds} …")
        chance = random.Random(number)  # noqa: S311
        for pair in chance.sample(found, len(found)):
            for case in chance.sample(pair, 2):
                if not any(each.failure for each in pair):
                    case.measure(warm_up=not number)


def against_table(other: str, ours: str, found: list[Pair]) -> str:
    head = ["page", "of", f"{other}, ms", f"{ours}, ms", "ratio",
            f"of these Python, {other}", ours, "ratio"]  # fmt: skip
    rows = [
        [
            after.page,
            after.kind,
            *compared(before.page_ms, after.page_ms),
            *compared(before.processor_ms, after.processor_ms),
        ]
        for before, after in found
        if not before.failure and not after.failure
    ]
    return table(head, rows, 2) + failures(list(chain(*found)))


def compared(before: float, after: float) -> list[str]:
    return [f"{before:,.1f}", f"{after:,.1f}", f"{after / before:.2f}"]
