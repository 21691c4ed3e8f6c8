"""
By which names steps are counted and found: tool calls by the tool's name, all other tasks by the
node's, model calls by the model's. SQL with {column} for a column.
"""

# Of a longer name, this much counts: an index cannot hold more than a few kilobytes.
NAME_LENGTH = 200
IS_TOOL_CALL = "coalesce({node_type} = 'tool_call', false)"
TASK_NAME = f"left({{name}}, {NAME_LENGTH})"
MODEL_NAME = f"left({{model}}, {NAME_LENGTH})"
