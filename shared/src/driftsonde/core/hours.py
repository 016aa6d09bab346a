"""Hours of the day, by the clocks of their zone. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from driftsonde.core.config import Hours


def is_within(hours: Hours, now: datetime) -> bool:
    """Tell whether a moment lies within the hours."""
    local = now.astimezone(ZoneInfo(hours.tz)).time()
    if hours.start < hours.end:
        return hours.start <= local < hours.end
    return local >= hours.start or local < hours.end


def end_of(hours: Hours, now: datetime) -> datetime:
    """Return when the hours that a moment lies in end."""
    local = now.astimezone(ZoneInfo(hours.tz))
    end = local.replace(hour=hours.end.hour, minute=hours.end.minute, second=hours.end.second, microsecond=0)
    return (end if end > local else end + timedelta(days=1)).astimezone(now.tzinfo)
