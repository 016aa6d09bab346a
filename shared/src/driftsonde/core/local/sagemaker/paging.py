"""Listings as SageMaker pages them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.registry import Resource
from driftsonde.core.local.sagemaker.rules import AwsError


def page(field: str, request: Json, found: Sequence[Resource], view: Callable[[Resource], Json]) -> Json:
    """Filter, sort and cut a listing; `found` is oldest first."""
    kept = [item for item in found if _selected(item, request)]
    by = {"Name": lambda item: item.name, "Status": lambda item: item.status}.get(request.get("SortBy", ""))
    if by is not None:
        kept.sort(key=by)
    if request.get("SortOrder", "Descending") == "Descending":
        kept.reverse()
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise AwsError("ValidationException", "NextToken is not one of ours")
    start, size = int(token), request.get("MaxResults", 10)
    cut = {field: [view(item) for item in kept[start : start + size]]}
    return {**cut, "NextToken": str(start + size)} if start + size < len(kept) else cut


def _selected(item: Resource, request: Json) -> bool:
    ranges = (
        ("CreationTimeAfter", "CreationTimeBefore", item.created),
        ("LastModifiedTimeAfter", "LastModifiedTimeBefore", item.modified),
    )
    inside = all(request.get(after, 0) <= moment <= request.get(before, moment) for after, before, moment in ranges)
    return inside and request.get("NameContains", "").lower() in item.name.lower()
