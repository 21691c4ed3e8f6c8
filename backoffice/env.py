"""Typed settings from the environment. A bad value stops the start with one line."""

import os
import re
import secrets
import tempfile
from pathlib import Path

from dotenv import load_dotenv

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
# A host name or an IP address; IPv6 in brackets.
HOST = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\]"


def stop(message: str) -> SystemExit:
    return SystemExit(f"Settings: {message}")


def load(path: Path) -> None:
    """Read a .env file; variables that are already set win."""
    # Without interpolation: a password may hold a dollar sign.
    load_dotenv(path, interpolate=False)


def blank() -> dict[str, str]:
    """
    Empty values for the settings in .env.example, so that .env cannot set them. DESK_DATA_DIR keeps
    its value, and so does WEB_CONCURRENCY, which gunicorn reads too and does not accept empty.
    """
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    names = re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)
    return {name: "" for name in names if name not in ("DESK_DATA_DIR", "WEB_CONCURRENCY")}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        raise stop(f"{name} must be 1 or 0, not {value!r}.")
    return value in TRUE


def integer(name: str, default: int, lowest: int, highest: int) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise stop(f"{name} must be a whole number, not {value!r}.")
    if not lowest <= int(value) <= highest:
        raise stop(f"{name} must be between {lowest} and {highest}, not {value}.")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def is_secret(key: str, length: int = 50, different: int = 10) -> bool:
    """
    Whether the key looks random: long enough, not a shorter text repeated, not half of it the same
    character, and with enough different ones. 50 hexadecimal digits have 10 or more, 20 have 6.
    """
    repeats = any(key[at:] == key[:-at] for at in range(1, len(key) // 2 + 1))
    return (
        len(key) >= length
        and len(set(key)) >= different
        and not repeats
        and max(map(key.count, key)) < len(key) / 2
        and not key.startswith("django-insecure-")
    )


def is_host(name: str) -> bool:
    return bool(re.fullmatch(HOST, name, re.IGNORECASE))


def is_https_origin(text: str) -> bool:
    return bool(re.fullmatch(rf"https://({HOST})(:[0-9]+)?", text, re.IGNORECASE))


def is_web_address(text: str) -> bool:
    """Without a user name and password, which some programs would log."""
    pattern = rf"https?://({HOST})(:(?P<port>[0-9]{{1,5}}))?(/[!-~]*)?"
    found = re.fullmatch(pattern, text, re.IGNORECASE)
    return bool(found) and 0 < int(found["port"] or 443) <= 65535


def is_email(text: str) -> bool:
    return bool(re.fullmatch(r"[^@\s<>\"]+@[^@\s<>\"]+", text))


def kept_secret(path: Path) -> str:
    """The random text in a private file, created at the first use."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not path.exists() or not path.read_text():
            # Unlike a rename, a link does not replace a file: the key appears whole and only once.
            with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
                file.write(secrets.token_urlsafe(50))
                file.flush()
                if path.exists() and not path.stat().st_size:
                    path.unlink()
                os.link(file.name, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise stop(f"{path} could not be created ({error.strerror}); see DESK_DATA_DIR.") from None
    return path.read_text()
