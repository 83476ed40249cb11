"""What became of packets, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.evaluator.packetline import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from iptkit.evaluator.machine import Machine
    from iptkit.evaluator.session import Outcome
    from iptkit.evaluator.world import Doubt

_GOOD, _BAD, _DIM, _BOLD, _OFF = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_PASSED = ("FORWARD", "INPUT", "OUTPUT")


class Teller:
    """Tells outcomes in lines of text.

    trace, why_not  with each rule that matched, or that did not
    """

    def __init__(self, machine: Machine, *, trace: bool, why_not: bool, color: bool) -> None:
        self.machine = machine
        self.trace = trace
        self.why_not = why_not
        self.color = color

    def paint(self, text: str, how: str) -> str:
        return f"{how}{text}{_OFF}" if self.color else text

    def outcomes(self, found: list[Outcome]) -> Iterator[str]:
        """All that may have become of one packet."""
        groups = grouped(found)
        if len(groups) == 1:
            outcome = found[0]
            yield from self.record(outcome.what.record, "  ")
            yield from self._chances(outcome.chances, "  ")
            return
        yield f"  {self.paint('UNKNOWN', _BOLD)}: one of {len(groups)}"
        for members in groups:
            for number, outcome in enumerate(members):
                conditions = " and ".join(map(condition, outcome.conditions))
                yield f"    {'or if' if number else 'if'} {conditions}"
            yield from self.record(members[0].what.record, "      ")
            yield from self._chances(members[0].chances, "      ")

    def _chances(self, chances: Iterable[Doubt], indent: str) -> Iterator[str]:
        for each in chances:
            options = f"{each.options[0]} to {each.options[-1]}"
            yield f"{indent}chance decides {each.question}: {options}; here it is {each.answer}"

    def record(self, record: Mapping[str, Any], indent: str) -> Iterator[str]:
        yield indent + self.verdict(record)
        if record.get("why") and record.get("verdict") not in _PASSED:
            yield f"{indent}because: {record['why']}"
        for reason in record.get("invalid_reason", ()):
            yield f"{indent}connection tracking: {reason}"
        for each in record.get("out", ()):
            what = "leaves" if each["kind"] == "injected" else "answer"
            yield f"{indent}{what} at {each['at']}: {shown(each['packet'])}"
        for each in record.get("local", ()):
            what = "delivered from" if each["kind"] == "injected" else "answer from"
            yield f"{indent}{what} {each['in']}: {shown(each['packet'])}"
        for each in record.get("logs", ()):
            yield f"{indent}logged to group {each['group']}: {each['prefix']}"
        if self.trace or self.why_not:
            yield from self._rules(record, indent)

    def verdict(self, record: Mapping[str, Any]) -> str:
        """The verdict, the connection's state, and the rule that decided."""
        name = record["verdict"]
        text = self.paint(name, _GOOD if name in _PASSED else _BAD)
        states = [each["state"] for each in record["ct"] if each["kind"] == "injected"]
        if states:
            text += f"  {states[0]}"
        if record.get("unknown"):
            text += f"  nobody knows {record['unknown']}"
        by = record.get("dropped_by")
        if by and by != "stack":
            text += f"  by {by}  {self.paint(self.rule(by), _DIM)}".rstrip()
        return text

    def rule(self, key: str) -> str:
        """The words of a rule, or what the end of a chain says."""
        line = self.machine.line_at(key)
        if line.rule is None:
            return f"policy {line.verdict}" if key.endswith(":policy") else "end of the chain"
        return str(line.rule.text()).strip()

    def _rules(self, record: Mapping[str, Any], indent: str) -> Iterator[str]:
        missed: dict[int, list[tuple[str, str]]] = {}
        for at, key, what in record.get("why_not", ()) if self.why_not else ():
            missed.setdefault(at, []).append((key, what))
        trace = record["trace"]
        keys = [key for _, key, _ in trace] + [key for group in missed.values() for key, _ in group]
        width = max(map(len, keys), default=0)
        for at in range(len(trace) + 1):
            for key, what in missed.get(at, ()):
                yield self.paint(f"{indent}  {key:<{width}}  no: {what}", _DIM)
            if at < len(trace):
                kind, key, mark = trace[at]
                marked = f"  mark={mark:#x}" if mark else ""
                whose = "" if kind == "injected" else "  (answer)"
                yield f"{indent}  {key:<{width}}  {self.rule(key)}{marked}{whose}"


def condition(doubt: Doubt) -> str:
    if doubt.answer is True:
        return f"{doubt.question} matches"
    if doubt.answer is False:
        return f"{doubt.question} does not match"
    return f"{doubt.question} is {doubt.answer}"


def grouped(found: list[Outcome]) -> list[list[Outcome]]:
    """Outcomes that look the same, together."""
    groups: list[list[Outcome]] = []
    for outcome in found:
        for group in groups:
            if _seen(group[0].what.record) == _seen(outcome.what.record):
                group.append(outcome)
                break
        else:
            groups.append([outcome])
    return groups


def _seen(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record a packet's sender or the administrator would see: not the way it came about."""
    return {
        name: value for name, value in record.items() if name not in ("trace", "counters", "why_not", "why")
    }


def as_json(found: list[Outcome]) -> list[dict[str, Any]]:
    """The outcomes as JSON objects, with the names of iptkit-eval(1)."""
    return [
        {
            "conditions": [_doubt(each) for each in outcome.conditions],
            "chances": [_doubt(each) for each in outcome.chances],
            **{
                name: [list(each) for each in value] if name == "why_not" else value
                for name, value in outcome.what.record.items()
            },
        }
        for outcome in found
    ]


def _doubt(doubt: Doubt) -> dict[str, Any]:
    return {"question": doubt.question, "answer": doubt.answer, "options": list(doubt.options)}
