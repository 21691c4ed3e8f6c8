import os
import socket
import sys

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError

from backoffice.local_postgres.server import LocalPostgresError

# A command's exit codes after Ctrl-C and SIGTERM.
STOPPED = (130, 143)


class Command(BaseCommand):
    help = "Prepares everything on this computer, then serves on http://127.0.0.1:PORT."
    requires_system_checks = []

    def handle(self, **options):
        port = self.free_port()
        local = settings.LOCAL_DATABASES
        demo = "agents" in local and "default" in local
        if local:
            self.start_local_postgres(local)
        if "agents" in local:
            call_command("demo_conversations", local=True, stdout=self.stdout)
            if "agents_write" in settings.DATABASES:
                self.build_indexes()
        self.check(databases=["agents"])
        try:
            call_command("migrate", verbosity=0)
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"Our own database does not answer: {reason}") from None
        if "agents" in local and settings.ROLLUP:
            # Home has figures from the beginning.
            call_command("rollup", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        self.say(f"Conversation Desk: http://127.0.0.1:{port}/")
        if demo:
            call_command("demo_users", stdout=self.stdout)
        elif not get_user_model().objects.exists():
            self.say(
                "Nobody can sign in yet. With the same settings, run: "
                ".venv/bin/python manage.py createsuperuser"
            )
        self.stdout.flush()
        self.become_server(port)

    def say(self, line: str):
        self.stdout.write(line)

    def free_port(self) -> int:
        port = settings.PORT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise CommandError(
                    f"Port {port} is not free ({error.strerror}). Try another: PORT=8001 make run."
                ) from error
        return port

    def start_local_postgres(self, local: dict[str, str]):
        try:
            started = settings.LOCAL_POSTGRES.start()
            for name in local.values():
                settings.LOCAL_POSTGRES.create_database(name)
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error
        if started:
            self.say(
                "The local PostgreSQL was started and keeps running after Ctrl-C. To stop it: "
                ".venv/bin/python manage.py local_postgres stop"
            )

    def build_indexes(self):
        try:
            call_command("agent_indexes", apply=True, verbosity=0)
        except CommandError as error:
            if error.returncode in STOPPED:
                raise
            self.say(f"Searches cover less of the past: {error}")

    def become_server(self, port: int):
        arguments = [sys.executable, "-m", "gunicorn", "--workers", "2"]
        arguments += ["--bind", f"127.0.0.1:{port}"]
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, arguments)  # noqa: S606
