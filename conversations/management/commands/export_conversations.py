"""Runs the list's exports from the command line, for schedules."""

from contextlib import closing

from django.conf import settings
from django.core.management import CommandError
from django.db import DatabaseError
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from audit.commands import AuditedCommand
from backoffice.time_zones import named
from conversations.exports.files import FILES, FORMS, export_file
from conversations.exports.lines import SEPARATORS
from conversations.exports.output import write_output
from conversations.exports.request import parse
from conversations.exports.stream import Export, TooManyExports
from conversations.exports.workbook import TooManyRows
from conversations.selection.filters import ConversationFilter


class Command(AuditedCommand):
    help = (
        "Writes conversations, their messages or their tasks to a file, completely or not at all."
    )

    def add_arguments(self, parser):
        parser.add_argument("--file", choices=FILES, default="conversations")
        parser.add_argument("--format", choices=FORMS, default="csv")
        parser.add_argument("--separator", choices=SEPARATORS, help="of CSV; comma by default")
        parser.add_argument("--output", default="-", help="a path; - is standard output")
        parser.add_argument(
            "--payloads", action="store_true", help="include the tasks' inputs, output and prompt"
        )
        parser.add_argument(
            "--site", help="the start of all links, such as https://desk.example.com"
        )
        filters = parser.add_argument_group("filters, as in the URL of the list")
        for name in ConversationFilter.base_filters:
            filters.add_argument(f"--{name.replace('_', '-')}", default="")

    def handle(self, *, file, format, separator, output, payloads, site, **options):
        data = QueryDict(mutable=True)
        data.update({name: options[name] for name in ConversationFilter.base_filters})
        if payloads:
            data["payloads"] = "1"
        if separator:
            data["separator"] = separator
        asked = parse(data, file, format)
        if asked.problem:
            raise CommandError(asked.problem)
        try:
            # Without dates, the filters need no time zone, but the times in the file do.
            with timezone.override(named(options["tz"]) or asked.filters.form.zone):
                made = export_file(
                    file,
                    format,
                    asked.filters.matching,
                    site=(site or self.site()).rstrip("/") + reverse("conversations:list"),
                    payloads=asked.payloads,
                    separator=asked.separator,
                )
            export = Export(
                made,
                None,
                file=f"{file}.{format}",
                query=asked.filters.query(),
                payloads=asked.payloads,
            )
            with closing(export):
                write_output(export, output)
        except TooManyExports:
            raise CommandError("The limit of exports at once has been reached.") from None
        except TooManyRows:
            raise CommandError(
                f"XLSX is limited to {settings.XLSX_MAX_ROWS:,} rows (XLSX_MAX_ROWS); CSV is not."
            ) from None
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database did not deliver all rows: {reason}") from error
        except OSError as error:
            raise CommandError(f"{output} could not be written: {error.strerror}.") from error
        self.stderr.write(f"Wrote {export.rows:,} rows.", self.style.SUCCESS)

    @staticmethod
    def site() -> str:
        if settings.LOCAL:
            return f"http://127.0.0.1:{settings.PORT}"
        return f"https://{settings.ALLOWED_HOSTS[0]}"
