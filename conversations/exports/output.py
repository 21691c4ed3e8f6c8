"""Where commands write files."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_output(blocks: Iterable[bytes], output: str):
    """To a path, or to standard output for "-"."""
    if output == "-":
        for block in blocks:
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    # The name always leads to a complete file: the old one or the new one.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("xb") as target:
            for block in blocks:
                target.write(block)
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
