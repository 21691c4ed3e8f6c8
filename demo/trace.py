"""One run of a demo agent: writes the rows that the runtime's engine would write for it."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from .rows import as_json

PLANNER = """You fulfil the prompt below and call tools where they help.

Prompt: {prompt}

Context variables:

- input: {message!r}

Available functions:
{tools}

To call a tool, name it in `tool_calls`. When you know enough, set `output`."""

PROGRESS = """
[CURRENT REQUEST]
{message}

[PLANNING DATA]
current_step={step}
max_steps=4

[STEPS EXECUTED SO FAR]
{done}
"""


@dataclass
class Outcome:
    """How a run ends. The default is an ordinary answer."""

    fails_at: str = ""  # the node whose model call fails
    stops_at: str = ""  # the node that is still running
    error: str = ""
    empty: bool = False  # the agent runs out of steps and gives no answer
    retried: int = 0  # response code of a first model call that is then retried
    failing_tools: set = field(default_factory=set)
    huge_result: bool = False
    task_errors: object = None


@dataclass
class Conversation:
    id: object
    agent: object
    agent_id: object
    history: list = field(default_factory=list)


class ProviderError(Exception):
    pass


class StillRunning(Exception):
    pass


def usage(model, asked, answered):
    """The token columns of a model call, as the provider's client fills them."""
    provider = model.split("/")[0]
    # A long prompt repeats the beginning of the previous one, so that part is cached, in steps of
    # 128 tokens.
    cached = asked * 3 // 4 // 128 * 128
    thought = 24 + answered * 2
    details = {}
    if provider == "openai":
        answered += thought
        details = {"cached_prompt_tokens": cached, "reasoning_tokens": thought}
    elif provider == "gemini":
        details = {"cached_prompt_tokens": cached or None, "reasoning_tokens": thought}
    elif provider == "anthropic":
        asked, answered = asked - cached, answered + thought
        details = {"cached_prompt_tokens": cached or None}
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        **details,
    }


class Run:
    """Walks the workflow once. `clock` is the engine's time, `seq` numbers the nodes visited."""

    def __init__(self, rows, conversation, started, outcome):
        self.rows, self.rng = rows, rows.rng
        self.conversation, self.agent = conversation, conversation.agent
        self.started, self.outcome = started, outcome
        self.id = rows.new_id()
        self.clock = started
        self.seq = 0

    def play(self, turn, message, reply, slots):
        """Write the run, and return the time of its last row."""
        self.slots, self.message, self.turn = slots, message, turn
        self.data = {"input": {"user_message": message}}
        self.wait(0.008, 0.04)
        self.say("user", message)
        self.conversation.history.append({"role": "user", "content": message})
        self.wait(0.008, 0.02)
        try:
            self.walk(turn, reply)
        except StillRunning:
            return self.save(None, output=None, ended=False)
        except ProviderError as error:
            failed = {"data": self.data, "error": str(error), "status": "failed"}
            return self.save(failed, output=None)
        answer = self.data["output"]
        self.save(self.data, output=answer)
        content = answer["agent_response"] if answer else ""
        self.wait(0.003, 0.02)
        self.say("assistant", content)
        self.conversation.history.append({"role": "assistant", "content": content})
        return self.clock

    def walk(self, turn, reply):
        self.task("begin", "start", self.visit())
        node, output, prompt = self.agent.first
        found = self.agent.first_output(turn.intent, self.rng)
        self.llm(node, output, prompt, {"message": self.message}, found)
        if self.agent.branches:
            self.parallel()
        self.decide(turn.intent)
        node, node_type, prompt = self.agent.final(turn.intent)
        if node_type == "agent":
            self.plan(node, prompt, turn.steps, reply)
        else:
            inputs = {"input": {"user_message": self.message}}
            self.llm(node, "output", prompt, inputs, {"agent_response": reply})
        self.wait(0.001, 0.004)
        self.task("finish", "end", self.visit())

    def llm(self, node, output, prompt, inputs, answer, history=True):
        seq = self.visit()
        prompt = prompt.format_map(self.slots)
        lines = [prompt, "INPUT DATA:", *(f"{key}:{value}" for key, value in inputs.items())]
        prompt = "\n".join(lines)
        messages = [{"role": "system", "content": prompt}]
        duration = self.call(node, output, messages + self.history(history), answer)
        self.data[output] = answer
        values = {"inputs": inputs, "output": answer, "prompt": prompt, "duration": duration}
        errors = self.outcome.task_errors if output == "output" else None
        self.task(node, "llm", seq, errors=errors, **values)

    def parallel(self):
        """The branches run in parallel: each has its own clock, but all share one `seq`."""
        names = [branch.name for branch in self.agent.branches]
        self.task("gather", "parallel", self.visit(), output={"branches": names})
        before, start, ends = dict(self.data), self.clock, []
        for branch in self.agent.branches:
            if branch.name in (self.outcome.fails_at, self.outcome.stops_at):
                # Start after the other branches have finished: if this one failed first, the
                # runtime would have cancelled them.
                start = max([start, *ends])
            self.clock = start
            facts = {key: text.format_map(self.slots) for key, text in branch.facts.items()}
            merged, self.data = self.data, dict(before)
            try:
                inputs = {"message": self.message}
                self.llm(branch.name, branch.output, branch.prompt, inputs, facts, history=False)
            except (ProviderError, StillRunning):
                # The results of branches only reach the context at the join, which never happened.
                self.data = before
                raise
            self.data = {**merged, **self.data}
            ends.append(self.clock)
        self.clock = max(ends)

    def decide(self, intent):
        node_type, node, expression = self.agent.route
        self.wait(0.0005, 0.002)
        known = intent in self.agent.finals
        value, matched = (intent, known) if node_type == "switch" else (known, True)
        taken = self.agent.final(intent)[0]
        inputs = {"expr": expression, "value": value}
        output = {"taken": taken, "matched": matched}
        self.task(node, node_type, self.visit(), inputs=inputs, output=output)

    def plan(self, node, prompt, steps, reply):
        """The agent node takes its `seq` first, so that its tool calls come after it."""
        seq, start, done = self.visit(), self.clock, []
        if self.outcome.empty:
            steps = [steps[index % len(steps)] for index in range(3)]
        for number, step in enumerate(steps):
            calls = [
                {
                    "name": f"python://{tool.name}",
                    "literal_args": json.dumps(self.filled(tool.args)),
                    "call_id": f"c{index}",
                }
                for index, tool in enumerate(step, start=1)
            ]
            answer = {"instructions": "Look it up.", "tool_calls": calls, "output": None}
            # If there are tools, only the last model call fails, the one that would have used their
            # results.
            self.call(node, "StepOutput", self.planning(prompt, number, done), answer, last=False)
            start_of_tools, ends = self.clock, []
            for index, tool in enumerate(step, start=1):
                self.clock = start_of_tools
                done.append(self.tool(node, number, f"c{index}", tool))
                ends.append(self.clock)
            self.clock = max(ends)
        output = None if self.outcome.empty else {"agent_response": reply}
        answer = {"instructions": "Answer.", "tool_calls": [], "output": output}
        self.call(node, "StepOutput", self.planning(prompt, len(steps), done), answer)
        self.data["output"] = output
        inputs = {"input": {"user_message": self.message}}
        duration = (self.clock - start).total_seconds()
        values = {"inputs": inputs, "prompt": prompt, "duration": duration}
        self.task(node, "agent", seq, output=output, errors=self.outcome.task_errors, **values)

    def tool(self, node, step, call_id, tool):
        args = self.filled(tool.args)
        result = tool.result.format_map(self.slots)
        if tool.name in self.outcome.failing_tools:
            reason = self.agent.tool_errors[tool.name].format_map(self.slots)
            result = f"Error: Error executing python_tool '{tool.name}': {reason}"
        output = {"result": result}
        if self.outcome.huge_result:
            self.outcome.huge_result = False
            log = "\n".join(f"{hour:02}:14 drop, back after {20 + hour} s" for hour in range(24))
            preview = as_json({"result": f"{result}\n{log}"})[:200]
            output = {"truncated": True, "bytes": 1_482_113, "preview": preview}
        seq, duration = self.visit(), self.wait(0.05, 2.2)
        self.task(
            tool.name,
            "tool_call",
            seq,
            inputs={"args": args, "step": step, "call_id": call_id},
            output=output,
            duration=duration,
            parent_task_name=node,
            tool_uri=f"python://{tool.name}",
        )
        return f"- python://{tool.name}(call_id={call_id}) args={args}\n  output: {result}"

    def planning(self, prompt, step, done):
        tools = json.dumps([f"python://{name}" for name in self.agent.tool_errors], indent=1)
        system = PLANNER.format(prompt=prompt, message=self.message, tools=tools)
        user = PROGRESS.format(
            message=self.message, step=step, done="\n".join(done) or "(none yet)"
        )
        return [
            {"role": "system", "content": system},
            *self.history(True)[:-1],
            {"role": "user", "content": user},
        ]

    def call(self, node, response_model, messages, answer, last=True):
        """Write one model call and return its seconds, or raise an error as the outcome says."""
        if last and node == self.outcome.stops_at:
            raise StillRunning
        if self.outcome.retried:
            codes = {429: "Rate limit reached, retry in 1.2 s", 500: "Internal server error"}
            text = f"Error code: {self.outcome.retried} - {codes[self.outcome.retried]}"
            self.stat(self.wait(0.2, 0.9), text, response_code=self.outcome.retried)
            self.outcome.retried = 0
            self.wait(1.2, 1.4)
        if last and node == self.outcome.fails_at:
            slow = "timed out" in self.outcome.error
            self.stat(self.wait(*(30.0, 30.3) if slow else (0.3, 2.5)), self.outcome.error)
            raise ProviderError(self.outcome.error)
        duration = self.wait_for_model(answer)
        request = json.dumps(
            {
                "model": self.agent.model.split("/")[1],
                "messages": messages,
                "response_model": response_model,
                "parameters": {"timeout_seconds": 30.0},
            }
        )
        response = json.dumps(answer)
        self.stat(
            duration,
            response,
            request_data=as_json(request),
            response_code=200,
            **usage(self.agent.model, len(request) // 4, len(as_json(answer)) // 4),
        )
        self.wait(0.0005, 0.003)
        return duration

    def stat(self, duration, response, **values):
        """Write a model call's row. As in the runtime, requests and responses are JSON strings."""
        self.rows.add(
            "model_call_stats",
            self.clock,
            call_type="llm",
            model=self.agent.model,
            response_data=as_json(response),
            duration_seconds=round(Decimal(duration), 6),
            **self.owners(),
            **values,
        )

    def task(self, name, node_type, seq, *, duration=0, **values):
        """Write a task's row, when its step is done. "No value" is JSON null here."""
        for column in ("inputs", "output", "errors"):
            values[column] = as_json(values.get(column))
        values |= {"name": name, "node_type": node_type, "seq": seq}
        self.wait(0.0004, 0.002)
        self.rows.add(
            "tasks", self.clock, duration_seconds=Decimal(duration), **values, **self.owners()
        )

    def say(self, role, content):
        self.rows.add("chat_messages", self.clock, role=role, content=content, **self.owners())

    def save(self, context, output, ended=True):
        self.wait(0.002, 0.006)
        self.rows.add(
            "runs",
            self.started,
            self.clock if ended else None,
            id=self.id,
            session_id=self.conversation.id,
            input_data=as_json({"user_message": self.message}),
            output_data=as_json(output) if output else None,
            context=as_json(context),
            duration_seconds=(
                Decimal((self.clock - self.started).total_seconds()) if ended else None
            ),
        )
        return self.clock

    def owners(self):
        return {
            "agent_id": self.conversation.agent_id,
            "session_id": self.conversation.id,
            "run_id": self.id,
        }

    def visit(self):
        self.seq += 1
        return self.seq - 1

    def history(self, wanted):
        return self.conversation.history[-50:] if wanted else []

    def filled(self, args):
        return {key: text.format_map(self.slots) for key, text in args.items()}

    def wait_for_model(self, answer):
        """Wait for an answer. Longer answers take longer, and sometimes the provider is slow."""
        seconds = 0.4 + len(as_json(answer)) / 350 + self.rng.expovariate(2.2)
        return self.wait(seconds, seconds + 0.1, limit=9)

    def wait(self, least, most, limit=60):
        """Move the clock on; return the seconds."""
        seconds = min(self.rng.uniform(least, most), limit)
        self.clock += timedelta(seconds=seconds)
        return seconds
