"""
The definitions of our indexes stay as they are, to the letter: every operator rebuilds one that has
changed, which takes minutes at millions of rows.
"""

from conversations.indexes import catalogue
from conversations.problems import kinds

DIGESTS = {
    "desk_chat_messages_content": "74f58fe85665",
    "desk_runs_failed": "5a5959bc23d3",
    "desk_runs_unfinished": "2b3d16e18420",
    "desk_runs_incomplete": "180c7dc25396",
    "desk_model_call_stats_model_error": "73100f781a58",
    "desk_model_call_stats_model_error_message": "3bc82143931f",
    "desk_model_call_stats_model_error_words": "5789a3bfaa43",
    "desk_tasks_tool_error": "f74ae02c761f",
    "desk_tasks_tool_error_message": "f211778dbd01",
    "desk_tasks_tool_error_words": "14afbf685f48",
    "desk_tasks_task_error": "3234eb1ddd31",
    "desk_tasks_task_error_message": "249e7120af34",
    "desk_tasks_task_error_words": "c53d02594573",
    "desk_sessions_external_id": "19d905edbfa7",
    "desk_sessions_created_at": "6e237bfaf289",
    "desk_sessions_lifetime": "8af8897e6773",
    "desk_chat_messages_created_at": "1c8fe547b530",
    "desk_runs_created_at": "9abc0161c166",
}


def test_definitions_are_what_they_were():
    assert {index.name: index.digest for index in catalogue.built_for(kinds.KINDS)} == DIGESTS
