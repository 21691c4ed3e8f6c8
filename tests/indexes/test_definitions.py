"""
The definitions of our indexes stay exactly as they are: every operator has to rebuild an index that
has changed, which takes minutes with millions of rows.
"""

import pytest
from django.db import connections

from conversations.indexes import catalogue
from conversations.problems import kinds

from ..support.histories import build_indexes

# The size of expressions as PostgreSQL compresses them.
SIZES = """
    SELECT indexrelid::regclass::text, coalesce(pg_column_size(indexprs), 0) FROM pg_index
    WHERE indexrelid = ANY (%s::regclass[])
"""

DIGESTS = {
    "desk_chat_messages_content": "74f58fe85665",
    "desk_runs_failed": "5a5959bc23d3",
    "desk_runs_unfinished": "2b3d16e18420",
    "desk_runs_incomplete": "180c7dc25396",
    "desk_model_call_stats_model_error": "73100f781a58",
    "desk_model_call_stats_model_error_message": "9b57ddcd7bd3",
    "desk_model_call_stats_model_error_words": "859671f41d77",
    "desk_tasks_tool_error": "f74ae02c761f",
    "desk_tasks_tool_error_message": "2a65787b1b25",
    "desk_tasks_tool_error_words": "09f5a9819ecb",
    "desk_tasks_task_error": "3234eb1ddd31",
    "desk_tasks_task_error_message": "d9322f5d1c69",
    "desk_tasks_task_error_words": "dd7c8e546263",
    "desk_sessions_external_id": "19d905edbfa7",
    "desk_sessions_created_at": "6e237bfaf289",
    "desk_sessions_lifetime": "8af8897e6773",
    "desk_chat_messages_created_at": "1c8fe547b530",
    "desk_runs_created_at": "9abc0161c166",
    "desk_tasks_name": "afc8e47227c6",
}


def test_definitions_have_not_changed():
    assert {index.name: index.digest for index in catalogue.built_for(kinds.KINDS)} == DIGESTS


@pytest.mark.django_db
def test_every_definition_fits_into_every_versions_catalogue():
    """Before version 18, a row of pg_index may have at most 8,160 bytes."""
    build_indexes()
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(SIZES, [[index.name for index in catalogue.indexes()]])
        sizes = dict(cursor.fetchall())
    assert len(sizes) == len(catalogue.indexes())
    assert {name: size for name, size in sizes.items() if size > 7_500} == {}
