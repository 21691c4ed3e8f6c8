"""
Masks personal data for users who may not see it.

With MASK_PERSONAL_DATA set, every text from the database `agents` is masked as it is read, in
requests of users who may not see personal data: no page can forget it. Code that compares texts or
handles cut ones uses `raw` or `cut`. Outside requests, in commands and other programs, nothing is
masked. Texts from `agents_write` are never masked, because they may be written back.
"""

from contextlib import contextmanager
from contextvars import ContextVar

from psycopg.abc import Buffer
from psycopg.types.json import JsonLoader
from psycopg.types.string import TextLoader

from .personal_data import mask, mask_json

_active: ContextVar[bool] = ContextVar("masking", default=False)


def is_active() -> bool:
    """Whether texts are being read for someone who may not see personal data."""
    return _active.get()


@contextmanager
def active(value: bool = True):
    token = _active.set(value)
    try:
        yield
    finally:
        _active.reset(token)


def reveal():
    """Stop masking until the surrounding `active()` block ends."""
    _active.set(False)


class Masked(str):
    """A masked text that remembers the original."""

    raw: str

    @classmethod
    def of(cls, masked: str, raw: str) -> str:
        if masked == raw:
            return raw
        text = cls(masked)
        text.raw = raw
        return text


def raw(text):
    """A text as it is in the agent database: for comparing, not for showing."""
    return getattr(text, "raw", text)


def cut(text, length: int, *, cut_start: bool = False):
    """Mask a text that SQL has cut to `length`, and perhaps also at its start."""
    if not text or not is_active():
        return text
    whole = raw(text)
    return Masked.of(mask(whole, cut_start, cut_end=len(whole) >= length), whole)


def cut_json(text, length: int | None = None):
    """The same for a JSON document, cut or whole; a whole document stays JSON."""
    if not text or not is_active():
        return text
    whole = raw(text)
    return mask_json(whole, cut_end=length is not None and len(whole) >= length)


class Undecoded(TypeError):
    """psycopg returned bytes, which cannot be masked because the client encoding is ASCII."""


class MaskingLoader(TextLoader):
    def load(self, data: Buffer) -> bytes | str:
        text = super().load(data)
        if not _active.get():
            return text
        if not isinstance(text, str):
            raise Undecoded
        return Masked.of(mask(text), text)


class MaskingJsonbLoader(TextLoader):
    """Django reads jsonb as text."""

    def load(self, data: Buffer) -> bytes | str:
        text = super().load(data)
        if not _active.get():
            return text
        if not isinstance(text, str):
            raise Undecoded
        return Masked.of(mask_json(text), text)


class MaskingJsonLoader(JsonLoader):
    def load(self, data: Buffer):
        return super().load(mask_json(bytes(data).decode()).encode() if _active.get() else data)


def install(connection):
    """Make a connection to the agent database mask what it reads whenever masking is active."""
    adapters = connection.connection.adapters
    # 0 stands for all types without a loader of their own.
    for kind in ("text", "varchar", "bpchar", 0):
        adapters.register_loader(kind, MaskingLoader)
    adapters.register_loader("jsonb", MaskingJsonbLoader)
    adapters.register_loader("json", MaskingJsonLoader)
