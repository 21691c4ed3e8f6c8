"""What gunicorn reads by itself when it is started here; its command line and environment win."""

from pathlib import Path

from backoffice import env

env.load(Path(__file__).with_name(".env"))

wsgi_app = "backoffice.wsgi"
bind = f"127.0.0.1:{env.integer('PORT', 8000, 1, 65535)}"
# A thread waits for the database most of the time; processes use the processors.
workers = env.integer("WEB_CONCURRENCY", 4, 1, 100)
threads = 8
# A process that has not given a sign of life; a long answer is no reason, since threads give it.
timeout = 30
# What is being answered when a process is told to end has this long.
graceful_timeout = 30
# It would be one more thing to guard.
control_socket_disable = True
loglevel = "warning"
