"""Bare SQL for the list: find the page's rows with an index, then count for them."""

from conversations.agentdb import lookups, normal_form
from conversations.problems import kinds

from .conversation_cases import COUNTS
from .measuring import plain

# A page, and one more row, which shows whether there is an older page.
PAGE = f"""
    SELECT s.*, a.name, first.content, last.content,
        (SELECT count(*) FROM chat_messages m WHERE m.session_id = s.id),
        (SELECT count(*) FROM runs r WHERE r.session_id = s.id),
        (SELECT count(*) FROM runs r WHERE r.session_id = s.id AND {{failed}}),
        {COUNTS.format(owner="session_id", row="s")}
    FROM (SELECT s.* FROM {{sessions}} ORDER BY s.updated_at DESC, s.id DESC LIMIT 51) s
    JOIN agents a ON a.id = s.agent_id
    LEFT JOIN LATERAL (SELECT left(content, 200) AS content FROM chat_messages m
        WHERE m.session_id = s.id ORDER BY m.created_at LIMIT 1) first ON true
    LEFT JOIN LATERAL (SELECT left(content, 200) AS content FROM chat_messages m
        WHERE m.session_id = s.id ORDER BY m.created_at DESC LIMIT 1) last ON true
    ORDER BY s.updated_at DESC, s.id DESC
"""  # noqa: S608
PLACE = """
    SELECT updated_at, id FROM sessions ORDER BY updated_at DESC, id DESC OFFSET %(offset)s LIMIT 1
"""
NEWER = "SELECT count(*) FROM sessions s WHERE (updated_at, id) > (%(at)s, %(id)s)"
OLDER = "s.updated_at <= %(at)s AND (s.updated_at, s.id) < (%(at)s, %(id)s)"
# The newest sessions that ended before the range did, and those that were active when it ended.
UNTIL = """
    ((SELECT * FROM sessions WHERE updated_at < %(end)s ORDER BY updated_at DESC LIMIT 51)
     UNION ALL
     (SELECT * FROM sessions
      WHERE tstzrange(least(created_at, updated_at), updated_at, '[]') @> %(end)s::timestamptz
        AND created_at < %(end)s AND updated_at >= %(end)s)) s
"""
# OFFSET 0 forces PostgreSQL to use the index on external ids instead of the one on updated_at.
NAME = lookups.name_sql("external_id")
EXTERNAL_ID = f"(SELECT * FROM sessions WHERE {NAME} LIKE %(pattern)s OFFSET 0) s"  # noqa: S608
NORMAL = normal_form.sql("content")
MESSAGES = f"SELECT session_id FROM chat_messages WHERE ({NORMAL}) LIKE %(pattern)s"  # noqa: S608
WITH_WORD = f"s.id IN ({MESSAGES})"
TOOLS = "SELECT session_id FROM tasks WHERE tool_uri ILIKE %(pattern)s"


def failing(kind: str, more: str = "true") -> str:
    """The sessions with this kind of problem, once for each problem."""
    found = kinds.named(kind)
    condition = found.where.replace("%", "%%")
    return f"SELECT session_id FROM {found.table} WHERE ({condition}) AND {more}"  # noqa: S608


OFFLINE = failing("tool_error", "output ->> 'result' LIKE '%% is offline'").removeprefix(
    "SELECT session_id"
)
ERROR_TEXTS = (
    failing("tool_error", "output ->> 'result' ILIKE %(pattern)s"),
    failing("task_error", "errors::text ILIKE %(pattern)s"),
    failing("model_error", "response_data::text ILIKE %(pattern)s"),
)


def walk(*sources: str) -> str:
    """Check session by session, newest first. Best for frequent matches."""
    each = " UNION ALL ".join(f"({source} AND session_id = s.id)" for source in sources)
    return f"sessions s, LATERAL ({each} LIMIT 1) AS found"


def gather(*sources: str) -> str:
    """Find all sessions that match, then take the newest. Best for rare matches."""
    every = " UNION ".join(sources)
    return f"sessions s JOIN ({every} OFFSET 0) AS found ON found.session_id = s.id"


def page(sessions: str, **values):
    """Reads a page of `sessions`, a FROM clause in which a session is called s."""
    return plain([PAGE.format(sessions=sessions, failed=FAILED)], **values)


NO_ANSWER = """
    NOT EXISTS (SELECT FROM chat_messages WHERE run_id = runs.id AND role = 'assistant')
"""
FAILED = f"({kinds.FAILED.where}) AND {NO_ANSWER.replace('runs.id', 'r.id')}"
ALIVE = "updated_at > now() - interval '15 minutes'"


def problems() -> dict[str, str]:
    """{kind of problem: a FROM clause for the sessions that have it}."""
    interrupted = failing("running", f"NOT {ALIVE} AND {NO_ANSWER}")
    frequent = [
        failing("failed", NO_ANSWER),
        failing("tool_error"),
        failing("model_error"),
    ]
    return {
        "any": walk(*frequent, failing("task_error"), interrupted),
        "failed": walk(frequent[0]),
        "running": gather(failing("running", f"{ALIVE} AND {NO_ANSWER}")),
        "interrupted": gather(interrupted),
        "task_error": gather(failing("task_error")),
        "tool_error": walk(frequent[1]),
        "model_error": walk(frequent[2]),
    }


def counts(condition: str, **values):
    """Reads how many sessions match, and how many of them have each kind of problem."""
    kinds = [
        failing("failed", NO_ANSWER),
        failing("running", NO_ANSWER),
        failing("tool_error"),
        failing("model_error"),
        failing("task_error"),
    ]
    total = f"SELECT count(*) FROM sessions s WHERE {condition}"  # noqa: S608
    return plain([total, *(f"{total} AND s.id IN ({kind})" for kind in kinds)], **values)


def errors() -> list[str]:
    """What the page Errors shows: equal problems grouped, the most frequent first."""
    return [
        f"""
        SELECT {kind.words.name_sql()}, {kind.words.message_sql()}, count(*), min(created_at),
               max(created_at)
        FROM {kind.table} WHERE {kind.where} GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50
        """.replace("%", "%%")  # noqa: S608
        for kind in (kinds.TOOL_ERROR, kinds.MODEL_ERROR, kinds.TASK_ERROR)
    ]
