"""Times, durations and numbers as people read them."""

import math
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.safestring import SafeString

DAY = 24 * 3600
UNITS = (
    (365 * DAY, "year"),
    (30 * DAY, "month"),
    (7 * DAY, "week"),
    (DAY, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def external_id_label(*, inside: bool = False) -> str:
    """What this site calls an external id, such as "Customer"; inside a sentence, "customer"."""
    label = settings.EXTERNAL_ID_LABEL or "External id"
    # Abbreviations keep their capitals, as in "CRM number".
    return label[0].lower() + label[1:] if inside and label[1:2].islower() else label


# For text that is defined once per process.
lazy_external_id_label = lazy(external_id_label, str)


def local(moment):
    """The time in the viewer's zone."""
    try:
        return timezone.localtime(moment)
    except OverflowError:
        # At the ends of the calendar, the time may not exist in that zone.
        return moment


def exact(moment) -> str:
    here = local(moment)
    # date_format would take three times as long; a list shows a hundred of these.
    return f"{here.day} {here:%b %Y, %H:%M:%S} {here.tzname()}"


def day(moment) -> SafeString:
    """Saturday, 28 November 2026"""
    here = local(moment)
    words = f"{here:%A}, {here.day} {here:%B} {here.year}"
    return SafeString(f'<time datetime="{here.date().isoformat()}">{words}</time>')


def elapsed_words(elapsed: timedelta) -> str:
    """In the largest unit; up to a day or two per year, the same as timesince(depth=1)."""
    seconds = elapsed.total_seconds()
    for seconds_each, noun in UNITS:
        if number := int(seconds // seconds_each):
            return f"{number}\xa0{noun}{'' if number == 1 else 's'}"
    return "0\xa0minutes"


def time_element(moment, words):
    # All values are our own, and escaping would take longer than everything else here.
    return SafeString(
        f'<time datetime="{moment.isoformat()}" title="{exact(moment)}">{words}</time>'
    )


def at(moment, form="full"):
    """The exact time with its zone, or only the time of day, with the exact time in the title."""
    full = exact(moment)
    return time_element(moment, full if form == "full" else full.split(", ")[1].split(" ")[0])


CLOCK_DIFFERS = "clock differs"


def is_duration(value) -> bool:
    """Whether it can be a real duration: with a wrong clock, anything may have been measured."""
    return value is not None and math.isfinite(value) and value >= 0


def seconds(value):
    """
    A duration in words: < 1 ms, 820 ms, 4.2 s, 3 min 20 s; empty for None. An impossible one gets a
    remark: clock differs (−5.0 s).
    """
    if value is None:
        return ""
    if not is_duration(value):
        return f"{CLOCK_DIFFERS} ({signed(value)})"
    if value < 0.001:
        return "< 1 ms" if value else "0 ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 99.95:
        return f"{value:.1f} s"
    if value < 86_400_000:
        minutes, rest = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return f"{value:.3g} s"


def dollars(amount: Decimal) -> str:
    """$0.0053, $1,204.5000; < $0.0001 for less than that."""
    least = Decimal("0.0001")
    if 0 < amount < least:
        return f"< ${least}"
    return f"${amount.quantize(least, ROUND_HALF_UP):,}"


def signed(value):
    """Seconds in words, with a minus sign if negative."""
    if math.isnan(value):
        return "NaN"
    words = "infinite" if math.isinf(value) else seconds(abs(value))
    return f"\N{MINUS SIGN}{words}" if value < 0 else words


def counted(count, noun):
    return f"{intcomma(count)} {noun}{pluralize(count)}"
