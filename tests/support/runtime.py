"""Writes a run step by step, with the same SQL as the runtime."""

from django.utils import timezone

from .factories import Json, insert, make_message, make_model_call, make_run, make_task
from .tables import sql


def now() -> dict:
    return {"created_at": timezone.now()}


class LiveRun:
    """
    Writes a run as the runtime's engine and task logger do: at the start, the run without output
    and the user's message; each task when it has ended; at the end, the output and the answer. Only
    the start changes the conversation's updated_at.
    """

    def __init__(self, session, question="Where is my order?"):
        self.session, self.seq = session, 0
        # Not now(), which stands still in a test's transaction.
        sql("UPDATE sessions SET updated_at = %s WHERE id = %s", [timezone.now(), session.id])
        self.run = make_run(session, output_data=None, duration_seconds=None, context=None, **now())
        self.id = self.run.id
        make_message(session, "user", question, run_id=self.id, **now())
        self.step("start", "start")

    def step(self, name, node_type="llm", **fields):
        values = {"seq": self.seq, **fields, **now()}
        self.seq += 1
        return make_task(self.run, self.session, name, node_type, **values)

    def tool(self, name, result, agent="helper"):
        output = Json({"result": result})
        uri = f"python://shop/{name}"
        fields = {"parent_task_name": agent, "tool_uri": uri, "output": output}
        return self.step(name, "tool_call", **fields)

    def model_call(self, **fields):
        return make_model_call(self.session, self.run, **{"total_tokens": 30, **fields, **now()})

    def end(self, answer="On its way."):
        self.update("output_data = %s, context = '{}'", [f'{{"agent_response": "{answer}"}}'])
        make_message(self.session, "assistant", answer, run_id=self.id, **now())

    def fail(self):
        """End the run with an error in its context, and without output or answer."""
        self.update("context = %s", ['{"status": "failed", "error": "no model"}'])

    def update(self, assignments, values):
        sql(
            f"UPDATE runs SET {assignments}, duration_seconds = 12.5, updated_at = now()"
            " WHERE id = %s",
            [*values, self.id],
        )


def new_session(agent, **fields):
    return insert("sessions", agent_id=agent.id, **fields, **now())
