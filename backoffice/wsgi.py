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
    """A well-formed Content-Type unchanged, or nothing."""
    return text if CONTENT_TYPE.fullmatch(text) else ""


def application(environ, start_response):
    # Django decodes with any Python codec named there, even "punycode", and fails on it where no
    # page of ours can say so. Without a type, a body is not read as a form.
    environ["CONTENT_TYPE"] = known_type(environ.get("CONTENT_TYPE", ""))
    return django_application(environ, start_response)


# Python keeps the frames of calls in chunks of 16 KB, maps each when it begins and unmaps it when
# it is empty. A loop that calls something from the end of one did both for each call, which took a
# fifth of the time of a run's page. A frame that needs more gets a longer chunk: this one leaves
# 120 KB to all that a request calls, and only what they use takes memory.
application.__code__ = application.__code__.replace(co_stacksize=17_000)

django_application = get_wsgi_application()
# A page's reader waits for seconds; a command waits as long as the database takes.
Watch.is_on = True
