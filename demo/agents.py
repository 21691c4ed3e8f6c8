"""The four demo agents and their workflows.

All share one design: a first model call reads the message, some agents look things up in parallel,
and a switch or an if chooses the last node, which answers. That covers every kind of task row.
"""

from dataclasses import dataclass, field

TEXT = {"type": "string"}
INPUT = {"type": "object", "properties": {"user_message": TEXT}}
OUTPUT = {"type": "object", "properties": {"agent_response": TEXT}}
LLM_DEFAULTS = {
    "llm_model": None,
    "llm_kwargs": {},
    "stream_delta": False,
    "history_limit": 50,
    "stream_output": False,
    "history_max_chars": None,
}
AGENT_DEFAULTS = {
    **LLM_DEFAULTS,
    "max_steps": 4,
    "use_history": True,
    "allowed_tools": None,
    "stream_partials": False,
    "stream_instructions": False,
}
MESSAGE_INPUT = {"message": {"name": None, "type": "context", "value": "input.user_message"}}
WHOLE_INPUT = {"input": {"name": None, "type": "context", "value": "input"}}


@dataclass(frozen=True)
class Branch:
    """A model call that looks something up in parallel. `facts` may contain slots."""

    name: str
    output: str
    prompt: str
    facts: dict


@dataclass(frozen=True)
class DemoAgent:
    key: str
    name: str
    description: str
    model: str
    first: tuple  # node, output, prompt
    route: tuple  # node type, node, expression
    finals: dict  # value of the expression -> (node, node type, prompt)
    default: tuple
    tool_errors: dict  # tool -> its error message
    module: str
    branches: list[Branch] = field(default_factory=list)

    def first_output(self, intent, rng):
        if self.route[0] == "switch":
            return {"intent": intent, "confidence": round(rng.uniform(0.55, 0.99), 3)}
        return {"topic": intent, self.route[2].split(".")[1]: intent in self.finals}

    def final(self, intent):
        return self.finals.get(intent, self.default)


SHOP = DemoAgent(
    key="shop",
    name="Quillfeather order help",
    description="Answers customers of the Quillfeather home shop: orders, parcels, refunds.",
    model="openai/gpt-5.4-mini",
    first=("classify", "classification", "Decide what the customer wants. Say how sure you are."),
    branches=[
        Branch(
            "lookup",
            "order",
            "Find the order that the customer means.",
            {"order_id": "{order}", "status": "{status}", "note": "{item}, {price} EUR"},
        ),
        Branch(
            "policies",
            "policy",
            "Find the rules of the shop that apply.",
            {"text": "Returns within 30 days. Damaged goods: full refund with delivery costs."},
        ),
    ],
    route=("switch", "route", "classification.intent"),
    finals={
        "refund": ("refund", "llm", "Answer about refunds and returns. Order {order}."),
        "order": ("order_desk", "agent", "Solve the problem with the order, using the tools."),
    },
    default=("general", "llm", "Answer the question in a friendly and short way."),
    tool_errors={
        "find_order": "order {order} not found in region EU-2",
        "track_parcel": "carrier API answered 503 Service Unavailable",
        "change_address": "order {order} is locked by the warehouse",
        "cancel_order": "order {order} is already packed",
        "create_replacement": "item is out of stock",
    },
    module="quillfeather.tools",
)

INTERNET = DemoAgent(
    key="internet",
    name="Brightfjord technical support",
    description="First line of Brightfjord, an internet provider: faults, bills, moving house.",
    model="anthropic/claude-sonnet-4-5",
    first=("classify", "classification", "Which desk should answer this message?"),
    branches=[
        Branch(
            "account",
            "customer",
            "Find the customer's line and plan.",
            {"line": "{line}", "plan": "{plan}", "device": "{device}"},
        ),
        Branch(
            "outages",
            "network",
            "Is there planned work or a fault near the customer?",
            {"town": "{town}", "text": "No planned work this week."},
        ),
    ],
    route=("switch", "route", "classification.intent"),
    finals={
        "technical": ("technical", "agent", "Solve the technical problem with the tools."),
        "billing": ("billing", "llm", "Explain the bill for line {line}. Be exact."),
    },
    default=("general", "llm", "Answer the question in a friendly and short way."),
    tool_errors={
        "check_line": "line {line} did not answer within 10 s",
        "restart_modem": "device {device} is offline",
        "search_manual": "search index is being rebuilt",
        "book_technician": "no free visit on the chosen day",
        "check_outages": "network map answered 502 Bad Gateway",
    },
    module="brightfjord.tools",
)

RAIL = DemoAgent(
    key="rail",
    name="Seven Lakes Rail travel desk",
    description="Finds trains, books seats and answers travellers of the Seven Lakes Railway.",
    model="gemini/gemini-2.5-flash",
    first=("understand", "request", "What does the traveller ask, and is the timetable needed?"),
    route=("if", "needs_timetable", "request.needs_timetable"),
    finals={"timetable": ("planner", "agent", "Plan and book the journey with the tools.")},
    default=("answer", "llm", "Answer from the conditions of carriage, short and friendly."),
    tool_errors={
        "search_trains": "timetable service timed out after 5.0 s",
        "train_status": "SL {train} is not in today's timetable",
        "find_booking": "booking {booking} belongs to another account",
        "book_seat": "no seats left in the chosen class",
        "cancel_booking": "booking {booking} is already cancelled",
        "book_assistance": "assistance desk is closed",
    },
    module="sevenlakes.tools",
)

DENTAL = DemoAgent(
    key="dental",
    name="Larkmoor Dental front desk",
    description="Books appointments at the Larkmoor dental clinic and spots emergencies.",
    model="ollama/mistral-small",
    first=("triage", "triage", "Is this urgent? A wrong no is worse than a wrong yes."),
    route=("if", "is_urgent", "triage.urgent"),
    finals={"emergency": ("urgent_care", "llm", "First aid, then the telephone number.")},
    default=("desk", "agent", "Help the patient. Use the tools for anything in the calendar."),
    tool_errors={
        "find_slots": "calendar is locked by another user",
        "find_booking": "no booking {booking}",
        "book_appointment": "time is no longer free",
        "cancel_appointment": "no booking {booking}",
        "confirm_appointment": "no booking {booking}",
    },
    module="larkmoor.tools",
)

AGENTS = [SHOP, INTERNET, RAIL, DENTAL]


def workflow(agent):
    """The workflow document of an agent, as the runtime stores it."""
    first, first_output, prompt = agent.first
    kind, route, expression = agent.route
    after_first = "gather" if agent.branches else route
    nodes = [
        {"name": "begin", "next": first, "type": "start"},
        _llm(first, first_output, prompt, after_first, MESSAGE_INPUT),
    ]
    if agent.branches:
        names = [branch.name for branch in agent.branches]
        nodes.append(
            {
                "name": "gather",
                "next": route,
                "type": "parallel",
                "branches": names,
                "max_concurrency": None,
            }
        )
    for branch in agent.branches:
        nodes.append(_llm(branch.name, branch.output, branch.prompt, route, MESSAGE_INPUT))
    if kind == "switch":
        cases = {value: final[0] for value, final in agent.finals.items()}
        branch_to = {"expr": expression, "cases": cases, "default": agent.default[0]}
    else:
        (then,) = agent.finals.values()
        branch_to = {"condition": expression, "then": then[0], "else": agent.default[0]}
    nodes.append({"name": route, "type": kind, **branch_to})
    for name, node_type, prompt in [*agent.finals.values(), agent.default]:
        node = _llm(name, "output", prompt, "finish", WHOLE_INPUT)
        if node_type == "agent":
            node |= {"type": "agent", **AGENT_DEFAULTS}
        nodes.append(node)
    nodes.append({"name": "finish", "type": "end", "output": "output"})
    return {
        "name": agent.name,
        "nodes": nodes,
        "version": "2.0",
        "llm_model": agent.model,
        "templates": [],
        "data_types": _data_types(agent),
        "llm_kwargs": {},
        "description": agent.description,
        "mcp_servers": [],
        "rag_service": None,
        "rest_servers": [],
        "rag_collection": None,
        "python_functions": [
            {"name": tool, "path": f"{agent.module}.{tool}"} for tool in agent.tool_errors
        ],
    }


def _llm(name, output, prompt, following, inputs):
    return {
        "name": name,
        "next": following,
        "type": "llm",
        "inputs": inputs,
        "output": output,
        "prompt": prompt.replace("{", "{{ context.").replace("}", " }}"),
        "use_history": following != "route",
        **LLM_DEFAULTS,
    }


def _data_types(agent):
    types = {"input": INPUT, "output": OUTPUT}
    if agent.route[0] == "switch":
        fields = {"intent": TEXT, "confidence": {"type": "number"}}
    else:
        fields = {"topic": TEXT, agent.route[2].split(".")[1]: {"type": "boolean"}}
    types[agent.first[1]] = {"type": "object", "properties": fields}
    for branch in agent.branches:
        fields = dict.fromkeys(branch.facts, TEXT)
        types[branch.output] = {"type": "object", "properties": fields}
    return types
