"""Documents only name files and pages that exist."""

import re

import pytest
from django.conf import settings

ROOT = settings.BASE_DIR
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MAP = (ROOT / "docs/architecture.md").read_text()
# architecture.md names files relative to the root, to conversations/, or to a wing.
PLACES = (
    ROOT,
    ROOT / "overview",
    ROOT / "conversations",
    *(path for path in (ROOT / "conversations").glob("*/")),
)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w[\w/]*(?:\.\w+|/))`", MAP))))
def test_the_map_only_names_existing_files(name):
    assert any((place / name).exists() for place in PLACES), name


def test_the_map_names_every_room_and_wing():
    for folder in [*ROOT.glob("*/__init__.py"), *(ROOT / "conversations").glob("*/__init__.py")]:
        assert re.search(rf"\b{folder.parent.name}\b", MAP), folder
