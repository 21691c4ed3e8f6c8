"""Hypothesis strategies for model calls: as the providers' clients write them, and any others."""

from hypothesis import strategies as st

# Models known by their prefix, known by their name, served by other providers, and unknown.
MODELS = [
    *("openai/gpt-4o", "openai/gpt-5.4-mini", "OpenAI/GPT-4o", "gpt-4o", "o3"),
    *("gemini/gemini-2.5-flash", "gemini/gemini-2.5-pro", "gemini-2.5-pro", "vertex_ai/gemini-x"),
    *("anthropic/claude-sonnet-4-5", "claude-opus-4-1", "ANTHROPIC/claude", "anthropic-eu/x"),
    *("ollama/mistral-small", "browser/Llama-3", "fastembed/BAAI/bge-small-en-v1.5"),
    *("openrouter/anthropic/claude-sonnet-4", "azure/gpt-4o", "groq/llama-3.3-70b-versatile"),
    *("bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", "deepseek/deepseek-chat", "mistral/x"),
    *("some-model", "acme/claude-like", "", "/", "a/b/c", "<b>", "openai", "x\nclaude", "ᲅgemini"),
]
COUNTS = st.none() | st.integers(0, 300_000)
ODD_COUNTS = st.none() | st.integers(-5, 5) | st.integers(-(2**31), 2**31 - 1)


def columns(models=MODELS, counts=COUNTS):
    """The columns of a call, with any numbers."""
    return st.fixed_dictionaries(
        {
            "model": st.sampled_from(models),
            "call_type": st.sampled_from(["llm", "llm", "embedding"]),
            "prompt_tokens": counts,
            "completion_tokens": counts,
            "total_tokens": counts,
            "cached_prompt_tokens": counts,
            "reasoning_tokens": counts,
            "response_code": st.sampled_from([200, 200, 200, None, 429]),
        }
    )


@st.composite
def written(draw):
    """The columns of a call, as the clients of kavalai 1.0.7 write them."""
    tokens = st.integers(1, 300_000)
    kind = draw(st.sampled_from(["openai", "gemini", "anthropic", "ollama", "embedding", "failed"]))
    values = {"call_type": "llm", "response_code": 200}
    if kind == "failed":
        return {
            **values,
            "model": "openai/gpt-4o",
            "response_code": draw(st.sampled_from([None, 500])),
        }
    if kind == "embedding":
        model = draw(st.sampled_from(["openai/text-embedding-3-small", "ollama/nomic-embed-text"]))
        return {**values, "call_type": kind, "model": model, "total_tokens": draw(tokens)}
    model = {
        "openai": ["openai/gpt-4o", "openai/gpt-5.4-mini"],
        "gemini": ["gemini/gemini-2.5-flash", "gemini/gemini-2.5-pro"],
        "anthropic": ["anthropic/claude-sonnet-4-5", "anthropic/claude-opus-4-1"],
        "ollama": ["ollama/mistral-small"],
    }[kind]
    prompt, completion = draw(tokens), draw(tokens)
    values |= {
        "model": draw(st.sampled_from(model)),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if kind != "ollama":
        most = 300_000 if kind == "anthropic" else prompt
        values["cached_prompt_tokens"] = draw(st.none() | st.integers(1, most))
    if kind in ("openai", "gemini"):
        most = 300_000 if kind == "gemini" else completion
        values["reasoning_tokens"] = draw(st.none() | st.integers(0, most))
    return values
