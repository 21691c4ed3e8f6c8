"""Pages about one conversation, each with bare SQL that reads the same rows."""

from django.urls import reverse

from conversations.detail.payloads import TEXT_UP_TO, TREE_TEXT
from conversations.detail.transcript import FOLD

from .conversation_rows import Conversation, Conversations
from .measuring import Case, plain
from .site import Site

COUNTS = """
    (SELECT count(*) FROM tasks t WHERE t.{owner} = {row}.id),
    (SELECT count(*) FROM tasks t WHERE t.{owner} = {row}.id
        AND t.errors NOT IN ('null', '[]')),
    (SELECT count(*) FROM tasks t WHERE t.{owner} = {row}.id
        AND t.node_type = 'tool_call' AND t.output->>'result' LIKE 'Error:%%'),
    (SELECT count(*) FROM model_call_stats m WHERE m.{owner} = {row}.id),
    (SELECT sum(total_tokens) FROM model_call_stats m WHERE m.{owner} = {row}.id)
"""
SESSION = f"""
    SELECT s.*, a.name,
        (SELECT count(*) FROM chat_messages m WHERE m.session_id = s.id),
        (SELECT count(*) FROM runs r WHERE r.session_id = s.id),
        {COUNTS.format(owner="session_id", row="s")}
    FROM sessions s JOIN agents a ON a.id = s.agent_id WHERE s.id = %(session)s
"""  # noqa: S608
MESSAGES = f"""
    SELECT id, run_id, role, created_at, left(content, {FOLD}), length(content)
    FROM chat_messages WHERE session_id = %(session)s
    ORDER BY created_at, id OFFSET %(offset)s LIMIT %(messages)s
"""  # noqa: S608
RUNS = f"""
    SELECT r.id, r.created_at, r.duration_seconds, r.output_data IS DISTINCT FROM 'null',
        {COUNTS.format(owner="run_id", row="r")}
    FROM runs r WHERE r.id = ANY(%(runs)s) ORDER BY r.created_at
"""  # noqa: S608
STEPS = """
    SELECT t.run_id, t.name, t.node_type FROM unnest(%(runs)s) run,
    LATERAL (SELECT * FROM tasks WHERE run_id = run ORDER BY seq LIMIT 24) t
"""
TASKS = """
    SELECT id, name, node_type, parent_task_name, duration_seconds,
        errors NOT IN ('null', '[]'),
        node_type = 'tool_call' AND output->>'result' LIKE 'Error:%%'
    FROM tasks WHERE run_id = %(run)s ORDER BY seq, created_at, id OFFSET %(offset)s LIMIT 200
"""
MODEL_CALLS = """
    SELECT id, model, call_type, response_code, prompt_tokens, completion_tokens, duration_seconds
    FROM model_call_stats WHERE run_id = %(run)s ORDER BY created_at
"""
TASK = f"""
    SELECT name, node_type, duration_seconds, tool_uri, parent_task_name, created_at,
        left(prompt, {TEXT_UP_TO}), length(prompt),
        left(inputs::text, {TREE_TEXT}), length(inputs::text),
        left(output::text, {TREE_TEXT}), length(output::text),
        left(errors::text, {TREE_TEXT}), length(errors::text)
    FROM tasks WHERE id = %(task)s
"""  # noqa: S608
PAYLOAD = f"""
    SELECT left({{column}}::text, {TREE_TEXT}), length({{column}}::text)
    FROM runs WHERE id = %(run)s
"""  # noqa: S608
WHOLE_MESSAGE = "SELECT * FROM chat_messages WHERE id = %(message)s"
OWN_SESSION = "SELECT * FROM sessions WHERE id = %(session)s"
WHOLE_TRANSCRIPT = """
    SELECT role, created_at, content FROM chat_messages
    WHERE session_id = %(session)s ORDER BY created_at, id
"""


def transcript(session, offset, messages):
    def read(connection):
        connection.execute(SESSION, {"session": session}).fetchall()
        place = {"session": session, "offset": offset, "messages": messages}
        rows = connection.execute(MESSAGES, place).fetchall()
        runs = {"runs": list({row[1] for row in rows})}
        connection.execute(RUNS, runs).fetchall()
        connection.execute(STEPS, runs).fetchall()

    return read


def conversation_cases(site: Site, made: Conversations) -> list[Case]:
    found = []

    def add(page, kind, read, name, *args, query="", **options):
        path = reverse(f"conversations:{name}", args=args) + query
        found.append(Case(site, page, kind, path, read, **options))

    def conversation(kind, one: Conversation, messages, query="", offset=0, page="conversation"):
        read = transcript(one.session, offset, messages)
        add(page, kind, read, "detail", one.session, query=query)

    def run(kind, one: Conversation, query="", offset=0, page="run"):
        values = {"session": one.session, "run": one.run, "runs": [one.run], "offset": offset}
        add(page, kind, plain([RUNS, TASKS, MODEL_CALLS], **values), "run", one.session, one.run,
            query=query)  # fmt: skip

    def payload(kind, one: Conversation, column):
        read = plain([PAYLOAD.format(column=column)], run=one.run)
        add("payload", kind, read, "payload", one.session, "runs", one.run, column)

    ordinary, long, wide, large = made.ordinary, made.long, made.wide, made.large
    middle = f"?m={long.message}"
    conversation("ordinary", ordinary, 12)
    conversation("3,000 messages", long, 73)
    conversation("3,000 messages", long, 73, "?from=1600", 1455, "conversation, from the middle")
    conversation("3,000 messages", long, 73, middle, 1455, "conversation, at a message")
    conversation("5,000 tasks of 40 KB", wide, 2)
    conversation("a message of 1 MB", large, 2)
    run("ordinary", ordinary)
    run("5,000 tasks of 40 KB", wide)
    run("5,000 tasks of 40 KB", wide, "?from=2400", 2400, "run, from the middle")
    for kind, one in [("ordinary", ordinary), ("40 KB", wide)]:
        add("task", kind, plain([TASK], task=one.task), "task", one.session, one.task)
    payload("ordinary", ordinary, "output_data")
    payload("a context of 5 MB", large, "context")
    payload("600 levels", large, "output_data")
    for kind, one in [("ordinary", ordinary), ("1 MB", large)]:
        read = plain([WHOLE_MESSAGE], message=one.message)
        add("message, whole", kind, read, "message", one.session, one.message)
    for kind, one in [("ordinary", ordinary), ("3,000 messages", long)]:
        first, whole = (
            plain([statement], session=one.session) for statement in (OWN_SESSION, WHOLE_TRANSCRIPT)
        )
        text = ("transcript", one.session, "txt")
        add("transcript.txt, first byte", kind, first, *text, first_byte=True)
        add("transcript.txt, whole", kind, whole, *text)
    return found
