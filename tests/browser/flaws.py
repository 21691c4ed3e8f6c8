"""What no page may have: barriers that axe finds, and what reaches beyond its edge."""

import os
from pathlib import Path

AXE = (Path(__file__).parent.parent / "vendor/axe-core/axe.min.js").read_text()
SIZES = ({"width": 1440, "height": 900}, {"width": 390, "height": 844})


def barriers(page, *rules):
    """What axe finds, by all its rules or by these."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']} {node['target']}: {node['any'] and node['any'][0]['message']}"
        for rule in found
        for node in rule["nodes"]
    ]


def overflow(page):
    """What reaches beyond the right edge without a box of its own that scrolls or clips it."""
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
    Barriers and overflow in light and dark, wide and narrow; and pictures of that name where
    somebody wants to see them.
    """
    page.evaluate(AXE)
    found = []
    for size in SIZES:
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            # Colours are all that differs in the dark.
            rules = ["color-contrast"] if scheme == "dark" else []
            found += [f"{size['width']} {scheme}: {each}" for each in barriers(page, *rules)]
            if name and (folder := os.environ.get("PICTURES")):
                path = f"{folder}/{name}-{size['width']}-{scheme}.png"
                page.screenshot(path=path, full_page=True)
        found += [f"{size['width']}: {each} overflows" for each in overflow(page)]
    return found
