"""NannyML's synthetic car loan, which ships in its wheel (Apache-2.0): changes planted from the fifth of ten chunks on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from driftsonde.core.api import Baseline

from .realdata import Rows, to_rows
from .report import Goal, Section, Table
from .rules import EVIDENTLY, PEERS, TableRules
from .tasks import Task
from .watch import OURS, Watch

ENVIRONMENT = Path(__file__).parents[2] / ".bench" / "envs" / "nannyml"
MISSING = "the environment of nannyml is not there; `make bench` builds it"
_CHUNKS = 10
_PLANTED_FROM = 5
_MOVED = ("car_value", "loan_length", "repaid_loan_on_prev_car", "y_pred_proba")
_PLANTED = {"synthetic_car_loan": _MOVED, "synthetic_car_loan_dq": (*_MOVED, "salary_range", "driver_tenure")}
"""The second has the changes of the first, and nulls on top."""

_NOT_WATCHED = ("id", "timestamp", "repaid", "y_pred", "period", "Unnamed: 0", "")
_RULES = (*(rule for rule in PEERS if rule != EVIDENTLY), OURS)


def _folder() -> Path | None:
    return next(ENVIRONMENT.glob("lib/python3*/site-packages/nannyml/datasets/data"), None)


def tasks(quick: bool) -> Iterator[Task]:
    """Yield a task for each data set, where they are."""
    return (Task(_data_set, (name,), 20) for name in _PLANTED if _folder())


def _read(name: str) -> tuple[Rows, int]:
    """Return the reference followed by what is analysed, and how long the reference is."""
    folder = _folder()
    assert folder is not None
    options = pacsv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    parts = [pacsv.read_csv(folder / f"{name}_{part}.csv", convert_options=options) for part in ("reference", "analysis")]
    names = [column for column in parts[1].column_names if column in parts[0].column_names and column not in _NOT_WATCHED]
    both = pa.concat_tables([part.select(names) for part in parts], promote_options="permissive")
    numbers = [field.name for field in both.schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    both = pa.table(
        {field.name: both[field.name] if field.name in numbers else both[field.name].cast(pa.string()) for field in both.schema}
    )
    return to_rows(both, numbers, [name for name in names if name not in numbers]), len(parts[0])


def _data_set(name: str) -> tuple[str, list[str], dict[str, dict[str, list[bool]]]]:
    """Return, by rule and column, which chunks are flagged."""
    rows, reference = _read(name)
    chunks = np.array_split(np.arange(reference, len(rows)), _CHUNKS)
    rules = TableRules(rows.take(np.arange(reference)), rows.sizes())
    rules.learn(rows.ragged(np.array_split(np.arange(reference), _CHUNKS)))
    peers = rules.flags(rows.ragged(chunks)).columns
    columns = list(rows.values)
    found = {rule: {column: peers[rule][:, i].tolist() for i, column in enumerate(columns)} for rule in _RULES if rule != OURS}
    ours = Watch(Baseline.build(rows.batch(np.arange(reference)))).flags(rows.batch(chunk) for chunk in chunks)
    found[OURS] = {column: [column in flags for flags in ours] for column in columns}
    return name, columns, found


def carloan(results: Sequence[tuple[str, list[str], dict[str, dict[str, list[bool]]]]], quick: bool) -> Section:
    """Print in how many chunks each rule flags what was planted, and what was not."""
    if not results:
        return Section(skipped=MISSING)
    goals, tables = [], []
    for name, columns, found in results:
        planted = _PLANTED[name]
        hits = sum(sum(found[OURS][column][_PLANTED_FROM:]) for column in planted)
        false = sum(sum(found[OURS][column][:_PLANTED_FROM]) for column in columns)
        after, before = (_CHUNKS - _PLANTED_FROM) * len(planted), _PLANTED_FROM * len(columns)
        goals.append(
            Goal(f"carloan.{name}", f"{name}: planted column-chunks flagged, share", 1, hits / after, most=False, note=f"{hits} of {after}")
        )
        goals.append(Goal(f"carloan.{name}.false", f"{name}: column-chunks flagged before", 0, false, note=f"{false} of {before}"))
        tables.append(_table(name, columns, found))
    return Section(goals, tables, {})


def _table(name: str, columns: Sequence[str], found: Mapping[str, Mapping[str, Sequence[bool]]]) -> Table:
    ordered = [*_PLANTED[name], *(column for column in columns if column not in _PLANTED[name])]
    rows = [
        [
            f"**{rule}**" if rule == OURS else rule,
            *(f"{sum(found[rule][c][:_PLANTED_FROM])} / {sum(found[rule][c][_PLANTED_FROM:])}" for c in ordered),
        ]
        for rule in _RULES
    ]
    head = [f"{column} (planted)" if column in _PLANTED[name] else column for column in ordered]
    return Table(f"{name}: chunks flagged of the five before / of the five from which on changes are planted", ["rule", *head], rows)
