"""The list's exports, to run on a schedule."""

import os
import sys
from contextlib import suppress
from pathlib import Path

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
from conversations.exports.request import parse
from conversations.exports.stream import Export, TooManyExports
from conversations.exports.workbook import TooManyRows
from conversations.selection.filters import ConversationFilter


class Command(AuditedCommand):
    help = "Write conversations, their messages or their tasks to a file, whole or not at all."

    def add_arguments(self, parser):
        parser.add_argument("--file", choices=FILES, default="conversations")
        parser.add_argument("--format", choices=FORMS, default="csv")
        parser.add_argument("--separator", choices=SEPARATORS, help="of CSV; comma by default")
        parser.add_argument("--output", default="-", help="a path; - is standard output")
        parser.add_argument(
            "--payloads", action="store_true", help="tasks with their inputs, output and prompt"
        )
        parser.add_argument(
            "--site", help="what links begin with, such as https://desk.example.com"
        )
        filters = parser.add_argument_group("filters, as in the list's address")
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
            # Without dates the filters leave the zone out; times in the file have it all the same.
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
            self.write(export, output)
        except TooManyExports:
            raise CommandError("As many exports as there may be at once are running.") from None
        except TooManyRows:
            raise CommandError(
                f"XLSX may have {settings.XLSX_MAX_ROWS:,} rows (XLSX_MAX_ROWS); CSV has no limit."
            ) from None
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database did not give all rows: {reason}") from error
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}.") from error
        self.stderr.write(f"{export.rows:,} rows were written.", self.style.SUCCESS)

    @staticmethod
    def site() -> str:
        if settings.LOCAL:
            return f"http://127.0.0.1:{settings.PORT}"
        return f"https://{settings.ALLOWED_HOSTS[0]}"

    @staticmethod
    def write(export: Export, output: str):
        try:
            if output == "-":
                for block in export:
                    sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
                return
            path = Path(output)
            # Its name always leads to a whole file: the new or the old one.
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                with partial.open("xb") as target:
                    for block in export:
                        target.write(block)
                partial.replace(path)
            finally:
                with suppress(FileNotFoundError):
                    partial.unlink()
        finally:
            export.close()
