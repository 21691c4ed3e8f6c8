"""The base class of commands that are recorded in the audit log."""

from django.core.management.base import BaseCommand

from .recording import command_reason


class AuditedCommand(BaseCommand):
    """Acts as the user "system". The reason recorded is --reason, or else the command's name."""

    def create_parser(self, prog_name, subcommand, **kwargs):
        self.reason = f"manage.py {subcommand}"
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument(
            "--reason",
            default="",
            metavar="TEXT",
            help="why you run this, for the audit log; by default, the command's name",
        )
        return parser

    def execute(self, *args, reason="", **options):
        token = command_reason.set(reason or self.reason)
        try:
            return super().execute(*args, **options)
        finally:
            command_reason.reset(token)
