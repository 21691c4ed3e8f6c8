"""Finds flaws that no page may have: accessibility barriers, and elements that overflow."""

import os
from pathlib import Path

AXE = (Path(__file__).parent.parent / "vendor/axe-core/axe.min.js").read_text()
SIZES = ({"width": 1440, "height": 900}, {"width": 390, "height": 844})


def barriers(page, *rules):
    """The violations that axe finds, of these rules or all of them."""
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    if rules:
        options["runOnly"] = rules
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']} {node['target']}: {node['any'] and node['any'][0]['message']}"
        for rule in found
        for node in rule["nodes"]
    ]


def overflow(page):
    """Elements beyond the right edge, unless an element around them scrolls or clips them."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          return [...document.querySelectorAll("body *")]
            .filter((element) => element.getBoundingClientRect().right > width + 1)
            .map((element) => `${element.tagName}.${element.className}`);
        }"""
    )


def flaws(page, name=""):
    """
    Barriers and overflow on wide and narrow screens, in light and dark. Saves screenshots with this
    name to the folder in the environment variable PICTURES, if set.
    """
    page.evaluate(AXE)
    found = []
    for size in SIZES:
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            # Only colours differ in dark mode.
            rules = ["color-contrast"] if scheme == "dark" else []
            found += [f"{size['width']} {scheme}: {each}" for each in barriers(page, *rules)]
            if name and (folder := os.environ.get("PICTURES")):
                path = f"{folder}/{name}-{size['width']}-{scheme}.png"
                page.screenshot(path=path, full_page=True)
        found += [f"{size['width']}: {each} overflows" for each in overflow(page)]
    return found
