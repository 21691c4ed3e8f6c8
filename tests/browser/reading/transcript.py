"""The page of a conversation, and what it shows."""

MARKDOWN = """# Your order

It is **on its way**, see [the map](https://example.com/map).

| Item | Price |
|------|-------|
| Tea  | 3     |

```
<b>code</b>
```"""


def address(session, query=""):
    return f"/conversations/{session.id}/{query}"


def said(page):
    return page.locator(".message > .text")


def ids(page):
    return page.locator(".message").evaluate_all("(all) => all.map((one) => one.id)")


def ids_of(messages):
    return [f"message-{message.id}" for message in messages]
