"""Plans the conversations: when they happen, with whom, and what goes wrong in them."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle

from .agents import AGENTS
from .scripts import load, phrases
from .slots import fill, person
from .trace import Outcome

ERRORS = [
    "Request timed out after 30.0 seconds.",
    "Error code: 429 - Rate limit reached for requests per minute. Please try again in 20 s.",
    "Error code: 500 - The provider had an error while processing the request.",
    "Error code: 400 - context_length_exceeded: 131842 tokens asked for, 128000 allowed.",
    "Invalid JSON in the model's answer: Expecting ',' delimiter: line 1 column 412 (char 411)",
    "Error code: 503 - upstream connect error or disconnect before headers.",
]
FAILED_RUNS = 0.105
FAILED_TOOLS = 0.07
# How busy each hour of the day is, in UTC: office hours and evenings, little at night.
HOURS = [2, 1, 1, 1, 1, 3, 8, 16, 24, 28, 27, 24, 20, 22, 24, 24, 22, 20, 22, 24, 20, 14, 8, 4]
# The newest conversations, in minutes before now, so that a fresh demo looks alive.
RECENT = [2, 4, 7, 12, 19, 33, 48, 75]
EVALS = 15


@dataclass
class PlannedRun:
    turn: object
    message: str
    reply: str
    slots: dict
    outcome: Outcome = field(default_factory=Outcome)
    gap: float = 0  # seconds since the previous run began


@dataclass
class PlannedSession:
    agent: object
    last_start: object  # when its last run begins
    external_id: str | None = None
    runs: list[PlannedRun] = field(default_factory=list)
    notes: list[tuple] = field(default_factory=list)  # (role, content) without a run


class Planner:
    def __init__(self, rng, now):
        self.rng, self.now = rng, now
        self.decks = {agent.key: self._deck(agent) for agent in AGENTS}
        self.next_words = {}

    def sessions(self, count):
        plans = [self.session(agent, minutes) for agent, minutes in zip(cycle(AGENTS), RECENT)]
        plans += self.special()
        plans += self.evals(min(EVALS, count // 10))
        agents = cycle(AGENTS)
        while len(plans) < count:
            plans.append(self.session(next(agents)))
        return plans[:count]

    def session(self, agent, minutes_ago=None, outcome=None):
        """An ordinary conversation. With `outcome`, everything goes well up to the last run."""
        rng, calm = self.rng, outcome is not None
        script = next(self.decks[agent.key])
        last_start = self._moment()
        if minutes_ago:
            last_start = self.now - timedelta(minutes=minutes_ago, seconds=rng.uniform(0, 25))
        turns = script.turns
        if rng.random() < 0.2:
            turns = turns[: rng.randint(1, len(turns))]
        plan, slots = self._begin(agent, script, last_start)
        self._converse(plan, script.language, turns, slots, calm)
        if script.language == "en" and rng.random() < 0.25 and not calm:
            label = rng.choices(["thanks", "human", "lost"], [5, 2, 2])[0]
            self._converse(plan, "en", [phrases("en", label)], slots, calm=True)
        if calm:
            plan.runs[-1].outcome = outcome
        return plan

    def long_session(self, agent, scripts):
        """A customer who comes back with something else, hours or days later."""
        english = [script for script in load(agent.key) if script.language == "en"]
        chosen = self.rng.sample(english, scripts)
        last_start = self._moment(days=15)
        plan, slots = self._begin(agent, chosen[0], last_start)
        name, email = slots["name"], slots["email"]
        for script in chosen:
            begins = len(plan.runs)
            slots = fill(self.rng, "en", last_start, name, email) | script.slots
            self._converse(plan, "en", script.turns, slots, calm=False)
            plan.runs[begins].gap = self.rng.uniform(3, 60) * 3600
        return plan

    def special(self):
        """The special cases that every page has to cope with."""
        shop, internet, rail, dental = AGENTS
        running = [self.session(shop, 0.9), self.session(internet, 2.2), self.session(rail, 320)]
        for plan in running:
            run = plan.runs[-1]
            run.outcome = Outcome(stops_at=plan.agent.final(run.turn.intent)[0])
        empty_agents = [internet, shop, dental, rail]
        empty = [self._with_tools(agent, empty=True) for agent in empty_agents]
        odd = [
            self._with_tools(internet, huge_result=True),
            self._with_tools(shop, retried=429),
            self._with_tools(rail, retried=500),
            self._with_tools(dental, retried=429),
            self._with_tools(shop, task_errors=["Refunds above 200 EUR need a person."]),
            self._with_tools(
                rail,
                task_errors={"code": "E_SEAT", "field": "coach", "message": "Coach 9 is unknown"},
            ),
        ]
        noted = [self._with_tools(shop), self._with_tools(internet)]
        noted[0].notes.append(("tool", "carrier webhook: parcel scanned at the locker, box 14"))
        noted[1].notes.append(("system", "Caller verified by telephone. Read the notes first."))
        untouched = PlannedSession(dental, self._moment(), "web-widget-opened")
        long = [self.long_session(agent, 2 + index) for index, agent in enumerate(AGENTS)]
        long += [self.long_session(shop, 4), self.long_session(rail, 3)]
        return [*running, *empty, *odd, *noted, untouched, *long]

    def evals(self, number):
        """A nightly evaluation: conversations with one run each, a few seconds apart."""
        plans = []
        start = (self.now - timedelta(days=4)).replace(hour=2, minute=10)
        for case in range(1, number + 1):
            plan = self.session(AGENTS[case % 2], outcome=Outcome())
            plan.runs = plan.runs[:1]
            plan.external_id = f"eval:prompt-v7:case-{case}"
            plan.last_start = start + timedelta(seconds=case * 21)
            plans.append(plan)
        return plans

    def _begin(self, agent, script, last_start):
        name, email = person(self.rng, script.language)
        slots = fill(self.rng, script.language, last_start, name, email) | script.slots
        return PlannedSession(agent, last_start, self._external_id(agent, email)), slots

    def _converse(self, plan, language, turns, slots, calm):
        """Append the turns, until the customer gives up because a question gets no answer."""
        rng = self.rng
        for turn in turns:
            message = self._word(turn.users).format_map(slots)
            reply = rng.choice(turn.replies).format_map(slots)
            run = PlannedRun(turn, message, reply, slots, gap=rng.uniform(95, 420))
            plan.runs.append(run)
            if calm:
                continue
            tools = {tool.name for step in turn.steps for tool in step}
            run.outcome.failing_tools = {
                tool for tool in sorted(tools) if rng.random() < FAILED_TOOLS
            }
            # Half the time the agent says so; otherwise it claims success, as agents do.
            if run.outcome.failing_tools and rng.random() < 0.5:
                run.reply = rng.choice(phrases(language, "sorry").replies)
                return
            if rng.random() < FAILED_RUNS:
                run.outcome.error = rng.choice(ERRORS)
                run.outcome.fails_at = rng.choice(self._model_nodes(plan.agent, turn))
                if rng.random() < 0.35:
                    return
                again = self._word(phrases(language, "again").users)
                gap = rng.uniform(95, 240)
                plan.runs.append(PlannedRun(turn, again, reply, slots, gap=gap))

    def _with_tools(self, agent, **outcome):
        """A conversation with several runs, of which the last one calls tools and answers."""
        while True:
            plan = self.session(agent, outcome=Outcome())
            while plan.runs and not plan.runs[-1].turn.steps:
                plan.runs.pop()
            if len(plan.runs) > 1:
                plan.runs[-1].outcome = Outcome(**outcome)
                return plan

    def _deck(self, agent):
        """All scripts of an agent, shuffled. English ones are in twice, as most people use it."""
        scripts = load(agent.key)
        deck = scripts + [script for script in scripts if script.language == "en"]
        self.rng.shuffle(deck)
        return cycle(deck)

    def _word(self, alternatives):
        """The next alternative. They take turns, so that each is used."""
        key = alternatives[0]
        index = self.next_words.get(key, 0)
        self.next_words[key] = index + 1
        return alternatives[index % len(alternatives)]

    def _model_nodes(self, agent, turn):
        nodes = [agent.first[0], *(branch.name for branch in agent.branches)]
        return [*nodes, agent.final(turn.intent)[0]]

    def _moment(self, days=30):
        """A time within the last `days` days, mostly on a weekday and in the daytime."""
        while True:
            day = self.now - timedelta(days=self.rng.randrange(days))
            if day.weekday() > 4 and self.rng.random() < 0.45:
                continue
            (hour,) = self.rng.choices(range(24), HOURS)
            moment = day.replace(
                hour=hour,
                minute=self.rng.randrange(60),
                second=self.rng.randrange(60),
                microsecond=self.rng.randrange(10**6),
            )
            if moment < self.now - timedelta(minutes=90):
                return moment

    def _external_id(self, agent, email):
        """An external id: a ticket, an e-mail address, a user name or None."""
        number = self.rng.randint(1000, 9999)
        choices = [f"ticket-{number}", email, f"{agent.key}-user-{number}", None]
        return self.rng.choices(choices, [35, 30, 15, 20])[0]
