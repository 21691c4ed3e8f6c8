"""Reading the audit trail as the panel does."""

import json

from audit.models import Text
from audit.texts import FINGERPRINT


def read(details):
    """With the texts that fingerprints stand for, where they can still be read."""
    texts = dict(Text.objects.values_list("fingerprint", "value"))

    def shown(value):
        if isinstance(value, str):
            return FINGERPRINT.sub(lambda found: texts.get(found[0], found[0]), value)
        if isinstance(value, dict):
            return {name: shown(each) for name, each in value.items()}
        return value

    # Nothing of it stands in the entry itself.
    kept = json.dumps(details)
    assert not any(f"={text}&" in f"{kept}&" for text in texts.values() if text)
    return shown(details)
