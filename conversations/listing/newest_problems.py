"""Describes the newest problem of each conversation in the list, or the one filtered for."""

import uuid

from privacy import masking

from ..display.readable import shown
from ..models import Session
from ..problems import kinds
from ..problems.messages import (
    ANY_WHO,
    LENGTH,
    NO_REASON,
    WHO_LENGTH,
    marked,
    message,
    sentence,
)
from ..selection.filters import ConversationFilter
from .snippets import read

LENGTH_SHOWN = 160
# The sentence is only searched for in the newest problem of each conversation.
FAILURES = """
    SELECT session_id, of_last_run, kind, who, {sentence}
    FROM (SELECT session.id AS session_id, kind, who, said, run_id = (
              SELECT id FROM runs WHERE session_id = session.id
              ORDER BY created_at DESC, id DESC LIMIT 1
          ) AS of_last_run
          FROM (SELECT id FROM sessions WHERE id = ANY(%(ids)s)) AS session,
          LATERAL (SELECT * FROM ({each}) AS failures ORDER BY created_at DESC LIMIT 1) AS failure
          OFFSET 0) AS failure
"""
EACH_FAILURE = """
    (SELECT '{kind}' AS kind, left({who}, {who_length}) AS who, {said} AS said, run_id,
            created_at
     FROM {table} WHERE session_id = session.id AND ({condition}) ORDER BY created_at DESC LIMIT 1)
"""
# OFFSET 0 keeps the planner reading the problems of one session. Without it, the planner may read
# all problems with these words.
EACH_ASKED_FOR = """
    (SELECT kind, who, said, run_id, created_at
     FROM (SELECT '{kind}' AS kind, left({who}, {who_length}) AS who, {name} AS name,
                  {said} AS said, run_id, created_at
           FROM {table} WHERE session_id = session.id AND ({condition})
           OFFSET 0) AS failure
     WHERE {asked_for} ORDER BY created_at DESC LIMIT 1)
"""


def newest_problems(sessions: list[Session], filters: ConversationFilter) -> dict[uuid.UUID, str]:
    """
    {session id: its newest problem in words} for the sessions that have one. If the filters name an
    error, a period or a kind of problem that has words, it is the newest that matches them.
    """
    ids = [session.pk for session in sessions if session.problems]
    if not ids:
        return {}
    chosen = filters.form.cleaned_data["problem"]
    error = masking.raw(filters.message) if filters.form.cleaned_data["error"] else ""
    if error == NO_REASON:
        runs = kinds.without_words()
        [kind] = [kind for kind in runs if kind.name == chosen] or runs[:1]
        return dict.fromkeys(ids, kind.wordless)
    asked_for, values = conditions(error, filters)
    known = kinds.with_words()
    each = [
        (EACH_ASKED_FOR if asked_for else EACH_FAILURE).format(
            kind=kind.name,
            who=kind.words.who_sql(),
            who_length=WHO_LENGTH,
            said=kind.words.said_sql(),
            table=kind.table,
            condition=kind.where,
            name=kind.words.name_sql(),
            asked_for=asked_for,
        )
        for kind in [kind for kind in known if kind.name == chosen] or known
    ]
    if not each:
        return {}
    sql = FAILURES.format(sentence=sentence(marked("said")), each=" UNION ALL ".join(each))
    sql = sql.replace("%", "%%")
    values["ids"] = ids
    for name in values:
        sql = sql.replace(f"%%({name})s", f"%({name})s")
    found = {}
    for session_id, of_last_run, name, who, words in read(sql, values):
        kind = kinds.named(name)
        who = masking.cut(who, WHO_LENGTH)
        words = shown(words, LENGTH)
        named = f"{kind.noun} {who}" if who else kind.noun
        found[session_id] = of_last_run, kind, named, words
    return {
        session.pk: newest_problem(session.status, *found[session.pk])
        for session in sessions
        if session.pk in found
    }


def conditions(error: str | None, filters: ConversationFilter) -> tuple[str, dict]:
    """The filters' SQL condition on a `failure`, with its parameters. Empty if any will do."""
    found, values = [], {}
    if error:
        who, _, values["words"] = error.partition(": ")
        found.append(f"{message(marked('said'))} = %(words)s")
        if who != ANY_WHO:
            values["who"] = who
            found.append("name = %(who)s")
    for name, moment, than in (
        ("since", filters.period.since, ">="),
        ("until", filters.period.until, "<"),
    ):
        if moment:
            values[name] = moment
            found.append(f"created_at {than} %({name})s")
    return " AND ".join(found), values


def newest_problem(status, of_last_run, kind, named, words) -> str:
    """For example "run failed: provider said 500" or "tool restart_device: device offline"."""
    failed = status == kinds.FAILED.name and of_last_run
    # The error of its model call explains a failed run best, so the model's name is left out.
    parts = [
        kinds.FAILED.one if failed else "",
        "" if failed and kind.model == "ModelCall" else named,
    ]
    text = ": ".join(part for part in (*parts, " ".join((words or "").split())) if part)
    return text if len(text) <= LENGTH_SHOWN else f"{text[:LENGTH_SHOWN]}…"
