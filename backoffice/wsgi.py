import os
import re

from django.core.wsgi import get_wsgi_application

from .databases.postgresql.connection import Watch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")

# UTF-8 only, like the rest of the site.
CONTENT_TYPE = re.compile(
    r"[a-z0-9.+-]+/[a-z0-9.+-]+"
    r"""(; *(charset="?utf-?8"?|boundary="?[a-z0-9'()+_,./:=?-]{1,70}"?) *)*""",
    re.IGNORECASE | re.ASCII,
)


def known_type(text: str) -> str:
    """The Content-Type if it is well-formed, else nothing."""
    return text if CONTENT_TYPE.fullmatch(text) else ""


def application(environ, start_response):
    # Django decodes forms with any Python codec named there, even "punycode", and fails on it
    # before we could show an error page. Without a Content-Type, a body is not read as a form.
    environ["CONTENT_TYPE"] = known_type(environ.get("CONTENT_TYPE", ""))
    return django_application(environ, start_response)


# Python keeps call frames in 16 KB chunks, which it maps when a call needs one and unmaps once they
# are empty. A loop whose calls crossed the end of a chunk did both for every call, which took a
# fifth of the time of a run's page. A frame that needs more gets a longer chunk: this one leaves
# 120 KB for everything that a request calls, and only what is used takes memory.
application.__code__ = application.__code__.replace(co_stacksize=17_000)

django_application = get_wsgi_application()
# The readers of a page wait a few seconds; a command waits as long as the database takes.
Watch.is_on = True
