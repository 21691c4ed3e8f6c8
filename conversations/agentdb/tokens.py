"""
What the token columns of a model call mean. Each provider's client fills them differently:

- OpenAI, Ollama and most others: `prompt_tokens` include cached tokens, and `completion_tokens`
  include reasoning;
- Gemini: `completion_tokens` leave out the reasoning ("thoughts");
- Anthropic: `prompt_tokens` leave out cached tokens, and `cached_prompt_tokens` are reads and
  writes together;
- embeddings of all providers: only `total_tokens`, which are 0 where the client did not learn them.

The provider follows from the model's prefix, or else from its name. The table below agrees with
genai-prices, so that tokens do not depend on whether that is installed. For other models, and for
calls whose numbers contradict their provider's rule, only the total is known.

`normalised()` is the rule in Python, and `total_sql()` in SQL, for sums: they agree to the last
token.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from . import revision


@dataclass(frozen=True)
class Provider:
    """Providers that fill the columns in the same way. Patterns work in Python and PostgreSQL."""

    # Prefixes that kavalai's own clients write, which can be recognised without a pattern.
    own: tuple[str, ...]
    # Patterns for what comes before the first slash of `model`, and for a `model` without a slash.
    prefix: str
    name: str
    # prompt_tokens leave out cached tokens, which are reads and writes together.
    cache_apart: bool = False
    # completion_tokens leave out the reasoning.
    reasoning_apart: bool = False

    @property
    def pattern(self) -> str:
        return f"^({self.prefix})/|^({self.name})[^/]*$"

    @property
    def is_apart(self) -> bool:
        return self.cache_apart or self.reasoning_apart


# The first match counts.
PROVIDERS = (
    Provider(
        own=("anthropic",),
        prefix="[^/]*anthropic[^/]*",
        name="[^/]*claude",
        cache_apart=True,
    ),
    Provider(
        own=("gemini",),
        prefix="[^/]*(google|vertex|gemini)[^/]*",
        name="[^/]*gemini",
        reasoning_apart=True,
    ),
    Provider(
        own=("openai", "ollama", "browser", "fastembed"),
        prefix="ollama|browser|fastembed"
        "|[^/]*(openai|bedrock|amazon|arcee|baseten|cerebras|cloudflare|cohere|databricks"
        "|elevenlabs|copilot|moonshot|modal|typesafe|voyage)[^/]*|mistral[^/]*|huggingface_[^/]*"
        "|avian|aws|azure|cursor|deepseek|doubleword|fireworks|groq|litellm|meta|minimax|novita"
        "|openrouter|ovhcloud|perplexity|quicksilverpro|together|together[-_]ai|x-?ai|zai|zhipuai",
        name="gpt-|o[134]|whisper-1|tts-1|command-|composer-|databricks-|system[.]ai[.]|deepseek"
        "|eleven_|muse-(spark-|wonder-1[.]0)|minimax-(m|01)|m2-her|kimi|moonshot|jev-|voyage-|glm-"
        "|[^/]*(grok|cerebras)"
        "|(labs-)?((mi|code|dev|magi|mini)stral|mixtral|pixtral|voxtral|open-(mistral|mixtral))",
    ),
)
EMBEDDING = "embedding"
COLUMNS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_prompt_tokens",
    "reasoning_tokens",
)


class Tokens(NamedTuple):
    """The tokens of one call; None means unknown."""

    # Includes tokens read from the cache or written to it.
    input: int | None = None
    cache_read: int | None = None
    # Used where the columns do not tell reads from writes.
    cache_read_or_written: int | None = None
    # Includes reasoning.
    output: int | None = None
    reasoning: int | None = None
    total: int | None = None

    @property
    def cached(self) -> int | None:
        return self.cache_read if self.cache_read_or_written is None else self.cache_read_or_written


@lru_cache(maxsize=1_000)
def provider_of(model: str) -> Provider | None:
    for provider in PROVIDERS:
        if re.search(provider.pattern, model, re.IGNORECASE | re.ASCII):
            return provider
    return None


def normalised(
    model: str,
    is_embedding: bool,
    prompt: int | None,
    completion: int | None,
    total: int | None,
    cached: int | None = None,
    reasoning: int | None = None,
    *,
    has_details: bool = True,
) -> Tokens:
    """
    One call's columns as Tokens. `has_details`: whether the database has the last two columns.

    total_sql() follows the same rule: change both together.
    """
    provider = provider_of(model)
    p, c, t, h, r = prompt or 0, completion or 0, total or 0, cached or 0, reasoning or 0
    if (
        provider is None
        or min(p, c, h, r) < 0
        or (h > p and not provider.cache_apart)
        or (r > c and not provider.reasoning_apart)
    ):
        return Tokens(total=t if t > 0 else max(p, 0) + max(c, 0))
    if provider.is_apart and not is_embedding and not has_details:
        # The recorded numbers leave out a part.
        return Tokens()
    given, answered = prompt, completion
    if is_embedding:
        given = (max(t, 0) or None) if prompt is None else prompt
        answered = c
    if given is not None and provider.cache_apart:
        given += h
    if answered is not None and provider.reasoning_apart:
        answered += r
    whole = given is not None and answered is not None
    total = given + answered if whole else max(t, given or 0, answered or 0)
    read, read_or_written = (None, cached) if provider.cache_apart else (cached, None)
    # Positional, because keywords would take half as long again and an export does this per call.
    return Tokens(given, read, read_or_written, answered, reasoning, total)


# The same in SQL, with {column} for a column of model_call_stats, and without percent signs, which
# the driver takes for placeholders. Kavalai's own prefixes are compared without a pattern, which
# would take some microseconds per call.

IS_EMBEDDING = f"{{call_type}} = '{EMBEDDING}'"


def total_sql() -> str:
    """SQL for a call's total tokens; NULL means unknown."""
    # Avoids repeating itself, because PostgreSQL parses and plans all of it for any call. least()
    # and greatest() ignore NULL.
    p, c, t, h, r = (f"{{{name}}}::bigint" for name in COLUMNS)
    has_details = revision.has_token_details()
    if not has_details:
        h = r = "NULL::bigint"
    p0, c0, h0, r0 = (f"coalesce({each}, 0)" for each in (p, c, h, r))
    is_negative = f"least({p}, {c}, {h}, {r}) < 0"
    whens = f"WHEN {is_negative} THEN NULL "
    for provider in PROVIDERS:
        given = f"coalesce({p}, CASE WHEN {IS_EMBEDDING} AND {t} > 0 THEN {t} END)"
        answered = f"coalesce({c}, CASE WHEN {IS_EMBEDDING} THEN 0 END)"
        is_clear = []
        if provider.cache_apart:
            given += f" + {h0}"
        else:
            is_clear.append(f"{h0} <= {p0}")
        if provider.reasoning_apart:
            answered += f" + {r0}"
        else:
            is_clear.append(f"{r0} <= {c0}")
        total = f"coalesce({given} + {answered}, greatest({t}, {given}, {answered}, 0))"
        total = f"CASE WHEN {' AND '.join(is_clear)} THEN {total} END"
        whens += f"WHEN {is_of(provider)} THEN {total} "
    unclear = f"CASE WHEN {t} > 0 THEN {t} ELSE greatest({p}, 0) + greatest({c}, 0) END"
    total = f"coalesce(CASE {whens}END, {unclear})"
    if has_details:
        return total
    # The recorded numbers leave out a part.
    apart = " OR ".join(is_of(provider) for provider in PROVIDERS if provider.is_apart)
    is_partial = f"NOT {IS_EMBEDDING} AND NOT coalesce({is_negative}, false) AND ({apart})"
    return f"CASE WHEN {is_partial} THEN NULL ELSE {total} END"


def is_of(provider: Provider) -> str:
    """A condition on the calls that match no provider before `provider`."""
    later = PROVIDERS[PROVIDERS.index(provider) + 1 :]
    of_later = " OR ".join(map(is_own, later))
    pattern = f"{{model}} COLLATE \"C\" ~* '{provider.pattern}'"
    return f"({is_own(provider)} OR {f'NOT ({of_later}) AND ' if later else ''}{pattern})"


def is_own(provider: Provider) -> str:
    return " OR ".join(f"starts_with({{model}}, '{each}/')" for each in provider.own)
