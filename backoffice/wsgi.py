import logging
import os

from django.core.wsgi import get_wsgi_application

from .errors import OneLine
from .postgresql.connection import Watch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")

# Whoever waits for a page waits for seconds; a command waits as long as the database takes.
Watch.is_on = True
# What breaks while a file is on its way is gunicorn's to log.
logging.getLogger("gunicorn.error").addFilter(OneLine())
application = get_wsgi_application()
