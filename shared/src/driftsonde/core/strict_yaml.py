"""Safe YAML without its traps: keys given twice, and aliases that a few lines turn into gigabytes once written out."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError


def load_yaml(text: str, *, most: int) -> Any:
    """Return plain data.

    Args:
        most: characters and nodes that the file may have with its aliases written out. Ninety aliases can stand for a thousand
            million values: it is not their number that must be small.

    Raises:
        ValueError: if it is not YAML, has a tag, gives a key twice, is nested too deeply, or is too large.
    """
    try:
        return _Loader(text, most).get_single_data()
    except yaml.MarkedYAMLError as exc:  # its own text repeats the line, and with it what secret may stand there
        mark = exc.problem_mark
        raise ValueError(f"{exc.problem}{f', line {mark.line + 1}, column {mark.column + 1}' if mark else ''}") from None
    except (yaml.YAMLError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self._most, self._size = most, 0
        self._sizes: dict[int, int] = {}  # by the node's id

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML has no types for it
        before = self._size
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise _refused(f"the alias {event.anchor!r} is part of what it stands for", event.start_mark)
            self._size += self._sizes[id(node)]
        else:
            self._size += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
            self._sizes[id(node)] = self._size - before
        if self._size > self._most:
            raise _refused(f"with its aliases written out it is larger than {self._most:,} characters", event.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _refused(f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node


def _refused(problem: str, mark: Any) -> ComposerError:
    return ComposerError(None, None, problem, mark)
