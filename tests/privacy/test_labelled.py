"""How much personal data is found in labelled texts, and how much else is mistaken for it."""

import json
from collections import Counter
from pathlib import Path

from privacy.personal_data import found, mask

# Texts as agents, users and logs write them: {kind, text, what must be masked}.
LABELLED = json.loads((Path(__file__).parent / "labelled.json").read_text())


def is_right(each: dict) -> bool:
    masked = mask(each["text"])
    if not each["masked"]:
        return masked == each["text"]
    pieces = [piece for words in each["masked"] for piece in (words, *words.split())]
    return masked != each["text"] and not any(piece in masked for piece in pieces if len(piece) > 3)


def test_personal_data_is_found_and_other_things_are_left_alone():
    counts = Counter(each["kind"] for each in LABELLED)
    assert counts["phone"] >= 250
    assert counts["harmless"] >= 250
    assert len(LABELLED) >= 600
    wrong = [each for each in LABELLED if not is_right(each)]
    told = "\n".join(f"{each['text']!r} -> {mask(each['text'])!r}" for each in wrong)
    missed = [each for each in wrong if each["masked"]]
    personal = len(LABELLED) - counts["harmless"]
    assert len(missed) <= personal / 100, told
    assert len(wrong) - len(missed) <= counts["harmless"] / 100, told


def test_found_personal_data_can_be_listed():
    text = 'Write to a@b.example or "+372 5123 4567", card 4111 1111 1111 1111'
    values = [("e-mail", "a@b.example"), ("phone", "+372 5123 4567")]
    assert list(found(text)) == [*values, ("card", "4111 1111 1111 1111")]
    assert list(found('{"phone": "51234567", "n": 51234567}')) == [("phone", "51234567")]
