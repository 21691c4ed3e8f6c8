"""
Removes words from a conversation wherever the runtime has stored them: in messages, and within the
JSON of runs, tasks and model calls.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connections
from psycopg import sql

from backoffice import json_text

from ..agentdb import revision
from .locking import OF_SESSIONS, lock

REDACTED = "[redacted]"
SHORTEST = 2
# {table: (label, columns of text, columns of JSON)}
PLACES = {
    "chat_messages": ("messages", ("content",), ()),
    "runs": ("runs", (), ("input_data", "output_data", "context")),
    "tasks": ("tasks", ("prompt",), ("inputs", "output", "errors")),
    "model_call_stats": ("model calls", (), ("request_data", "response_data")),
}
# Never escaped in JSON, at any depth: enough to skip rows that cannot hold the words.
PLAIN = re.compile(r"[A-Za-z0-9 ]+")
# JSON in JSON in JSON.
LEVELS = 2


@dataclass(frozen=True)
class Found:
    """How often the words occur in one kind of row, and in how many rows."""

    label: str
    times: int
    rows: int


def pattern_of(words: str) -> re.Pattern:
    """Matches the words as they are, with either newline, or escaped in JSON inside a string."""
    words = words.replace("\r\n", "\n")
    forms = newest = {words, words.replace("\n", "\r\n")}
    for _ in range(LEVELS):
        newest = {
            json.dumps(form, ensure_ascii=ascii_only)[1:-1]
            for form in newest
            for ascii_only in (True, False)
        }
        forms = forms | newest
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


def redact_all(session_id: uuid.UUID, words: str) -> list[Found]:
    """
    redact() in the transaction on agents_write, while nobody else writes to the conversation. Looks
    twice: a model call may have been added during the first look.
    """
    lock([session_id])
    seen: set[uuid.UUID] = set()
    looks = [
        redact(session_id, words, using="agents_write", write=True, seen=seen) for _ in range(2)
    ]
    return [
        Found(first.label, first.times + second.times, first.rows + second.rows)
        for first, second in zip(*looks, strict=True)
    ]


def redact(
    session_id: uuid.UUID,
    words: str,
    *,
    using: str,
    write: bool,
    seen: set[uuid.UUID] | None = None,
) -> list[Found]:
    """
    Replace the words by REDACTED everywhere in the conversation; without `write`, only count them.
    Writing needs a transaction. Neither updated_at nor any other column is touched. Rows that are
    `seen` are left alone, since REDACTED may hold the words itself, and others are added to them.
    """
    seen = set() if seen is None else seen
    pattern = pattern_of(words)
    plain = max(PLAIN.findall(words), key=len, default="")
    found = []
    for table, (label, texts, payloads) in PLACES.items():
        if table == "model_call_stats" and not revision.has_model_call_links():
            continue
        times = rows = 0
        for row_id, values in candidates(table, texts + payloads, session_id, plain, using, write):
            if row_id in seen:
                continue
            seen.add(row_id)
            changed, of_row = {}, 0
            for column, text in values.items():
                if text is None:
                    continue
                after, number = replaced(text, pattern, is_json=column in payloads)
                of_row += number
                if number:
                    changed[column] = after
            times += of_row
            rows += bool(of_row)
            if changed and write:
                update(table, row_id, changed, using)
        found.append(Found(label, times, rows))
    return found


def replaced(text: str, pattern: re.Pattern, *, is_json: bool) -> tuple[str, int]:
    number = 0

    def change(part):
        nonlocal number
        after, times = pattern.subn(REDACTED, part)
        number += times
        return after

    after = json_text.with_texts_changed(text, change) if is_json else change(text)
    return after, number


def candidates(table, columns, session_id, plain, using, lock) -> Iterator[tuple]:
    """(id, {column: text}) of rows that may hold the words; one at a time: they can be big."""
    names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
    holds = sql.SQL(" OR ").join(
        sql.SQL("strpos({}::text, %(plain)s) > 0").format(sql.Identifier(name)) for name in columns
    )
    values = {"ids": [session_id], "plain": plain}
    with connections[using].cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT id FROM {} WHERE ({}) AND ({}) ORDER BY id").format(
                sql.Identifier(table), sql.SQL(OF_SESSIONS[table]), holds
            ),
            values,
        )
        ids = [row_id for (row_id,) in cursor.fetchall()]
        one = sql.SQL("SELECT {} FROM {} WHERE id = %s{}").format(
            names, sql.Identifier(table), sql.SQL(" FOR UPDATE" if lock else "")
        )
        for row_id in ids:
            cursor.execute(one, [row_id])
            # It may be gone by now.
            for row in cursor.fetchall():
                yield row_id, dict(zip(columns, row, strict=True))


def update(table, row_id, changed: dict[str, str], using):
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = %s" if name in PLACES[table][1] else "{} = %s::jsonb").format(
            sql.Identifier(name)
        )
        for name in changed
    )
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [*changed.values(), row_id])
