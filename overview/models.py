"""
Figures over time: what the rollup knows of each conversation and of each quarter of an hour.

They live in our own database and hold ids, numbers and fingerprints. The only texts are names of
models, nodes and tools, and types of nodes, which pages mask as they mask them elsewhere.
docs/overview.md says what each figure means.

`objects` applies the user's agent limit. `unlimited` is for the rollup alone.

At the end is what `manage.py notify` keeps; docs/notify.md says what it is for.
"""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from .managers import AgentLimitedManager, CellManager, FactManager, UnlimitedManager


class OfAgent(models.Model):
    agent_id = models.UUIDField()

    objects = AgentLimitedManager()
    unlimited = UnlimitedManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"
        default_manager_name = "objects"
        default_permissions = ()


class Fact(OfAgent):
    """One conversation as a whole, as it was at the last rollup that found it changed."""

    session_id = models.UUIDField(primary_key=True)
    started = models.DateTimeField()
    # The newest of its updated_at, its messages, and the beginnings and ends of its runs.
    last_activity = models.DateTimeField()
    # Names of the kinds in conversations.problems.kinds, whenever they happened.
    problems = ArrayField(models.TextField())
    # A name in conversations.problems.outcomes; empty without runs.
    outcome = models.TextField()
    # The duration of its first run that gave an answer.
    answer_seconds = models.FloatField(null=True)
    # A keyed fingerprint of the external id; None without one, and for evaluations.
    person = models.BigIntegerField(null=True)
    # {model: usage, as in overview.usage}
    tokens = models.JSONField()

    # What tells whether it has changed: the session's updated_at, how many rows it has, and
    # {id: status} of its runs that may still end.
    updated_at = models.DateTimeField()
    rows = models.IntegerField()
    unfinished = models.JSONField()

    objects = FactManager()
    unlimited = UnlimitedManager()

    class Meta(OfAgent.Meta):
        indexes = [
            models.Index(fields=["agent_id", "last_activity"], name="overview_fact_agent"),
            models.Index(fields=["updated_at", "session_id"], name="overview_fact_place"),
            models.Index(fields=["last_activity"], name="overview_fact_last_activity"),
            models.Index(
                fields=["outcome", "last_activity"],
                name="overview_fact_outcome",
                condition=~Q(outcome__in=["", "answered"]),
            ),
            models.Index(
                fields=["last_activity"],
                name="overview_fact_unfinished",
                condition=~Q(unfinished={}),
            ),
        ]

    def __str__(self):
        return str(self.session_id)


class Activity(OfAgent):
    """
    One conversation in one quarter of an hour (UTC) in which anything happened in it. It counts as
    active, as in the list's filters, if it has a message or a run there. Count conversations and
    people here, distinct: sums over quarters would count them again and again.
    """

    pk = models.CompositePrimaryKey("session_id", "starts")
    session_id = models.UUIDField()
    starts = models.DateTimeField()
    # As in Fact.
    person = models.BigIntegerField(null=True)
    # Written, begun, ended, begun and made in this quarter.
    messages = models.IntegerField()
    runs = models.IntegerField()
    ended = models.IntegerField()
    tasks = models.IntegerField()
    calls = models.IntegerField()
    # Names of the kinds of problem that happened in it: a run's when it began.
    problems = ArrayField(models.TextField())

    class Meta(OfAgent.Meta):
        indexes = [
            models.Index(
                fields=["starts", "agent_id"],
                include=["session_id", "person", "messages", "runs"],
                name="overview_activity_starts",
            ),
            models.Index(
                fields=["starts", "agent_id"],
                include=["session_id", "problems"],
                name="overview_activity_problems",
                condition=~Q(problems=[]),
            ),
        ]

    def __str__(self):
        return f"{self.session_id} {self.starts:%Y-%m-%d %H:%M}"


class Grain(models.TextChoices):
    QUARTER = "quarter", "a quarter of an hour"
    DAY = "day", "a day of UTC"


class Cell(models.Model):
    """
    What happened in a quarter of an hour or a UTC day: numbers that may be added up. A cell is
    always replaced as a whole. There is none where nothing happened, and none of a quarter that is
    more than 100 days ago. JSON leaves zeros out.
    """

    # None: all agents together, with model calls of no agent.
    agent_id = models.UUIDField(null=True)
    grain = models.CharField(max_length=7, choices=Grain)
    starts = models.DateTimeField()
    # Written, begun, ended, begun and made in it.
    messages = models.IntegerField()
    runs = models.IntegerField()
    ended = models.IntegerField()
    tasks = models.IntegerField()
    calls = models.IntegerField()
    # {kind: how many rows}: runs by when they began, tasks and model calls by when they were made.
    problems = models.JSONField()
    # Durations, as in overview.percentiles, of the ended runs that gave an answer.
    answers = models.JSONField()
    # {name: {"count": tasks, "errors": of those, and their durations}}
    nodes = models.JSONField()
    tools = models.JSONField()
    # {model: the same of its calls, and "usage" as in overview.usage}
    model_calls = models.JSONField()

    objects = CellManager()
    unlimited = UnlimitedManager()

    class Meta:
        base_manager_name = "objects"
        default_manager_name = "objects"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["agent_id", "grain", "starts"],
                name="overview_cell_of_agent",
                condition=Q(agent_id__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["grain", "starts"],
                name="overview_cell_of_all",
                condition=Q(agent_id__isnull=True),
            ),
        ]
        indexes = [models.Index(fields=["starts", "grain"], name="overview_cell_starts")]

    def __str__(self):
        return f"{self.grain} {self.starts:%Y-%m-%d %H:%M}"


class WorkflowSnapshot(OfAgent):
    """
    An agent's workflow as it was from `since` until the next one: the runtime overwrites it in
    place. Of what it says, only the names and types of nodes are kept, and digests of the rest.
    """

    # When it changed to this, as far as known; of an agent's first one, when it was first seen.
    since = models.DateTimeField()
    # The agent's updated_at when the workflow was last read.
    updated_at = models.DateTimeField()
    # Of the whole document; empty without one.
    digest = models.TextField()
    # [[name, type, digest, names of the nodes that it leads to]]
    nodes = models.JSONField()

    class Meta(OfAgent.Meta):
        indexes = [models.Index(fields=["agent_id", "-id"], name="overview_workflow_agent")]

    def __str__(self):
        return f"{self.agent_id} {self.since:%Y-%m-%d %H:%M}"


class Stale(models.Model):
    """A quarter of an hour whose cells have to be made again."""

    starts = models.DateTimeField(primary_key=True)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return f"{self.starts:%Y-%m-%d %H:%M}"


class Changed(models.Model):
    """A conversation that we have changed or erased ourselves: it has to be read again."""

    session_id = models.UUIDField(primary_key=True)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return str(self.session_id)


class Progress(models.Model):
    """How far the rollup has come: one row."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    # What the tables were made by: with another, they are made anew.
    form = models.TextField()
    # Until when everything is in the figures; None until the first rollup has ended.
    as_of = models.DateTimeField(null=True)
    # Until when everything is in the facts; cells may still be stale.
    seen = models.DateTimeField(null=True)
    # Where the walk through all conversations, newest first, goes on; None: at the newest.
    walked_updated_at = models.DateTimeField(null=True)
    walked_session_id = models.UUIDField(null=True)
    # Whether it has been through all of them once.
    is_complete = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return f"as of {self.as_of}"


class Threshold(OfAgent):
    """When something is told of an agent. An agent without a row has the defaults."""

    agent_id = models.UUIDField("agent", unique=True)
    problem_percent = models.PositiveSmallIntegerField(
        "problem rate in percent",
        default=25,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Tell when so many of its conversations have a problem. Empty: never.",
    )
    minimum_conversations = models.PositiveIntegerField(
        "minimum of conversations",
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="The problem rate of fewer conversations is not looked at.",
    )
    silent_hours = models.PositiveSmallIntegerField(
        "silent for hours",
        default=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(168)],
        help_text=(
            "Tell when nothing has happened for so long although something usually does at this "
            "time of the week. Empty: never."
        ),
    )

    class Meta(OfAgent.Meta):
        # A backup leaves out what is called overview_…, because it can be counted again.
        db_table = "agent_threshold"
        default_permissions = ("add", "change", "delete", "view")
        verbose_name = "threshold of an agent"
        verbose_name_plural = "thresholds of agents"

    def __str__(self):
        return f"thresholds of {self.agent_id}"


class State(models.TextChoices):
    SEEN = "seen", "seen once: told if it still holds at the next reading"
    DUE = "due", "to be told"
    TOLD = "told", "told, and still holds"
    OLD = "old", "held at the rule's first reading: not told"
    RECOVERED = "recovered", "is over, which is to be told"
    ENDED = "ended", "over"


class Episode(models.Model):
    """From when a condition is found until it is over. Holds ids and numbers, no content."""

    # A name in overview.notify.rules.
    rule = models.TextField()
    # An agent's id, a keyed fingerprint of a group of errors, or empty.
    subject = models.TextField()
    # Of this rule and subject, from 1 on.
    number = models.IntegerField()
    state = models.TextField(choices=State)
    # The moment of the first reading that found it.
    since = models.DateTimeField()
    details = models.JSONField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject", "number"], name="overview_episode_once"
            )
        ]

    def __str__(self):
        return f"{self.rule} {self.number}: {self.state}"


class Baseline(models.Model):
    """That a rule has been read: what held at its first reading is not told."""

    rule = models.TextField(primary_key=True)
    # The name of the key that makes fingerprints: with another one, the rule begins again.
    key = models.TextField()

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.rule


class Notice(models.Model):
    """A message on its way by mail or to the webhook. Its text is emptied once it has been sent."""

    channel = models.TextField()
    subject = models.TextField()
    text = models.TextField()
    made_at = models.DateTimeField()
    # When somebody began to send it; None once that has failed.
    claimed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return f"{self.channel} {self.made_at:%Y-%m-%d %H:%M}"
