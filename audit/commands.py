"""The base of commands that the audit trail tells of."""

from django.core.management.base import BaseCommand

from .recording import command_reason


class AuditedCommand(BaseCommand):
    """Acts as "system", for the reason that is given or else its own name."""

    def create_parser(self, prog_name, subcommand, **kwargs):
        self.reason = f"manage.py {subcommand}"
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.add_argument(
            "--reason",
            default="",
            metavar="TEXT",
            help="why, for the audit trail; without it, the trail has the command's name",
        )
        return parser

    def execute(self, *args, reason="", **options):
        token = command_reason.set(reason or self.reason)
        try:
            return super().execute(*args, **options)
        finally:
            command_reason.reset(token)
