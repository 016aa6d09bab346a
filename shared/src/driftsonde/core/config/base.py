"""What every section of the file is made of: strict models, durations, hours of the day, and mistakes in one line each."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

_DURATION = re.compile(r"^([0-9]{1,9})\s*(s|m|h|d|w)$")
# A webhook address, or a URL with a password in it, is a secret, also where it was put by mistake.
_ADDRESS = re.compile(r"(https?|(?!s3:)[a-z][a-z0-9+.-]*(?=://\S*@))://\S+", re.IGNORECASE)
_SLACK_TOKEN = re.compile(r"xox[a-z]-[A-Za-z0-9-]+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: Any) -> Any:
    """Turn `90s`, `15m`, `6h`, `1d`, `2w` into a timedelta; leave anything else to pydantic."""
    if isinstance(value, str) and (match := _DURATION.match(value.strip())):
        try:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError as exc:
            raise ValueError("longer than any clock can tell") from exc
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0), description="e.g. 90s, 15m, 6h, 1d, 2w")]


class Section(BaseModel):
    """Base of every part of the file: unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _time_of_day(value: Any) -> Any:
    """Read `22:00`. YAML 1.1 takes it for 1320, the number 22,00 to the base of 60, when it has no quotes."""
    if isinstance(value, int) and not isinstance(value, bool) and 60 <= value < 24 * 60:
        return time(*divmod(value, 60))
    if not isinstance(value, str):
        raise ValueError('expected a time of day, e.g. "22:00"')
    return value


TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]


class Hours(Section):
    """Some hours of each day."""

    start: TimeOfDay = Field(alias="from", description='e.g. "22:00"; later than `to`: over midnight.')
    end: TimeOfDay = Field(alias="to")
    tz: str = Field("UTC", description="e.g. Europe/Berlin")

    @field_validator("tz")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as exc:  # KeyError: not found; OSError: a part of a name, e.g. Europe
            raise ValueError("is no time zone known here, e.g. Europe/Berlin; the package tzdata brings them") from exc
        return name

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same")
        return self


def explain(exc: ValidationError) -> str:
    """Say each mistake in one line: key, what is wrong, the value that was given."""
    lines = []
    for error in exc.errors(include_url=False):
        key = ".".join(str(part) for part in error["loc"]) or "(top level)"
        given = "" if error["type"] == "missing" else f" (got {without_addresses(str(error['input']))[:80]!r})"
        # A reference that leads nowhere is a mistake of the whole file; its message names key and value itself.
        dangling = error["type"] == "value_error" and not error["loc"]
        said = without_addresses(error["msg"].removeprefix("Value error, "))
        lines.append(said if dangling else f"{without_addresses(key)}: {said}{given}")
    return "; ".join(lines)


def without_addresses(text: str) -> str:
    """Return a text without webhook addresses and tokens: they are secrets, also where they were put by mistake."""
    return _SLACK_TOKEN.sub("xox***", _ADDRESS.sub(r"\1://***", text))
