"""Records of the evaluator beside those of a kernel: what must be equal, and how."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

FIELDS = (
    "verdict ct counters out conntrack trace dropped_by egress line logs expect local send hex invalid_reason"
    " ctstat"
).split()
CLOCK = 2  # seconds by which the kernel's own rounding may move a timeout


def differences(recorded: dict[str, Any], mine: dict[str, Any], fields: Iterable[str] = FIELDS) -> list[str]:
    """What differs between a recording (with its `unstable` paths) and what was computed."""
    truth, found = recorded["truth"], mine
    if ("load_error" in truth) != ("load_error" in found):
        return ["only one was refused"]
    if "load_error" in truth:
        return []
    truth, found = json.loads(json.dumps(truth)), json.loads(json.dumps(found))
    for path in recorded.get("unstable", ()):
        for record in (truth, found):
            _blank(record, path.split("."))
    if len(truth["steps"]) != len(found["steps"]):
        return ["not the same number of steps"]
    return [
        f"step {place} {name}: {one!r} != {two!r}"
        for place, (left, right) in enumerate(zip(truth["steps"], found["steps"], strict=True))
        for name in fields
        if not _same(one := _field(left, name), two := _field(right, name))
    ]


def _blank(record: Any, keys: list[str]) -> None:
    """What is random by design is not compared."""
    for key in keys[:-1]:
        try:
            record = record[int(key) if key.isdigit() else key]
        except (KeyError, IndexError, TypeError):
            return
    last: Any = int(keys[-1]) if keys[-1].isdigit() else keys[-1]
    try:
        record[last]
    except (KeyError, IndexError, TypeError):
        return
    record[last] = None


def _field(step: dict[str, Any], name: str) -> Any:
    if name == "out":
        return sorted(([o["at"], o["kind"], o["packet"]] for o in step.get("out", ())), key=json.dumps)
    if name == "hex":
        shown = ([o["at"], o.get("hex")] for o in step.get("out", ()) if o["kind"] == "injected")
        return sorted(shown, key=json.dumps)
    if name == "local":
        return [[o["kind"], o["mark"], o["in"], o["packet"]] for o in step.get("local", ())]
    if name == "conntrack":
        hidden = ("line", "use", "delta-time")
        return [{k: v for k, v in each.items() if k not in hidden} for each in step.get("conntrack", ())]
    if name == "line":
        return [_without_clock(each.get("line")) for each in step.get("conntrack", ())]
    if name == "expect":
        return [re.sub(r"^\s*\d+\s+", "", line) for line in step.get("expect", ())]
    return step.get(name) or None


def _without_clock(line: str | None) -> str | None:
    if line is None:
        return None
    line = re.sub(r" use=\d+| delta-time=\d+", "", line)
    return re.sub(r"^(\S+ +\d+ \S+ +\d+ )\d+ ", r"\1", line)


def _same(one: Any, two: Any, key: str = "") -> bool:
    if key == "timeout" and isinstance(one, int) and isinstance(two, int):
        return abs(one - two) <= CLOCK
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[name], two[name], name) for name in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same, one, two))
    return bool(one == two)
