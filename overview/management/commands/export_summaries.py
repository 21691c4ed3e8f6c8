"""Writes a summary to a file, for schedules."""

from django.conf import settings
from django.core.management import CommandError
from django.http import QueryDict
from django.utils import timezone

from audit.commands import AuditedCommand
from audit.recording import Act, record
from conversations.exports.lines import SEPARATORS
from conversations.exports.output import write_output
from conversations.exports.stream import TooManyExports
from conversations.exports.tables import TABLE_FORMS, table
from conversations.exports.workbook import TooManyRows
from overview import figures
from overview.summaries.files import NAME, TOO_MANY_ROWS, TooManySummaryRows, summary
from overview.summaries.form import SummariesForm
from overview.summaries.rows import columns


class Command(AuditedCommand):
    help = "Writes the figures of each agent by day, week or month to a file, or nothing at all."

    def add_arguments(self, parser):
        parser.add_argument("--format", choices=TABLE_FORMS, default="csv")
        parser.add_argument("--output", default="-", help="a path; - is standard output")
        asked = parser.add_argument_group("as in the address of the file")
        asked.add_argument("--by", default="", help="day, week or month; day by default")
        asked.add_argument("--agent", default="", help="the id of an agent")
        asked.add_argument("--period", default="", help="last-30-days by default")
        asked.add_argument("--active-from", default="", help="a day, or a period's first")
        asked.add_argument("--active-until", default="", help="a day, or a period's last")
        asked.add_argument("--tz", default="", help="the time zone of the days")
        asked.add_argument("--separator", choices=SEPARATORS, default="", help="of CSV")

    def handle(self, *, format, output, **options):
        known = figures.known()
        if known is None:
            raise CommandError(figures.NONE_YET)
        data = QueryDict(mutable=True)
        data.update({name: options[name] for name in SummariesForm.base_fields})
        asked = SummariesForm(data, until=known.until)
        if not asked.is_valid():
            raise CommandError(asked.problem())
        separator = asked.cleaned_data["separator"] or "comma"
        try:
            found = summary(asked)
            with timezone.override(asked.zone):
                content = table(NAME, format, columns(), found, separator)
            write_output([content], output)
        except TooManySummaryRows:
            raise CommandError(TOO_MANY_ROWS) from None
        except TooManyExports:
            raise CommandError("The limit of exports at once has been reached.") from None
        except TooManyRows:
            raise CommandError(
                f"XLSX is limited to {settings.XLSX_MAX_ROWS:,} rows (XLSX_MAX_ROWS); CSV is not."
            ) from None
        except OSError as error:
            raise CommandError(f"{output} could not be written: {error.strerror}.") from error
        file = f"{NAME}.{format}"
        query, number = asked.query(), len(found)
        record(None, Act.EXPORTED, file=file, query=query, rows=number, complete=True)
        self.stderr.write(f"Wrote {number:,} rows.", self.style.SUCCESS)
