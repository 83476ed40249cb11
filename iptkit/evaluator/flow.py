"""Flow scripts: packets, times and expectations, one a line.

    # a connection, and what became of it
    0     client tcp 10.0.1.2:1024 > 10.0.2.2:80 S   => FORWARD NEW
    +0.1  server tcp 10.0.2.2:80 > 10.0.1.2:1024 SA  => FORWARD ESTABLISHED
    +130  client tcp 10.0.1.2:1024 > 10.0.2.2:80 A   => DROP by filter:FORWARD:3

A line begins with a time, in seconds: since the start, or with `+` since the
line before.  Then comes a packet (iptkit.evaluator.packetline) or a command,
and after `=>` what is expected of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iptkit.evaluator.packetline import BadLine, PacketLine, Word, parse_packet, words_of
from iptkit.evaluator.wire import suggestion
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from iptkit.values.context import Family

VERDICTS = ("FORWARD", "INPUT", "OUTPUT", "DROP", "REJECT", "ROUTER_ERROR", "HELD")
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
COMMANDS = ("sysctl", "flush", "wait")
_TIME = re.compile(r"\+?[0-9]+(?:\.[0-9]+)?")


class Expectation(NamedTuple):
    """What is expected: the name of something, its value, and the word that says so."""

    name: str
    value: str
    word: Word


class Step(NamedTuple):
    """One line of a script.

    number    of the line, from 1
    time      seconds
    relative  counted from the line before, not from the start
    packet    None for a command
    command   a word of COMMANDS, or ""; `wait` lets time pass and no more
    words     of the command
    text      the packet as it was written
    """

    number: int
    time: float
    relative: bool
    packet: PacketLine | None
    command: str
    words: tuple[str, ...]
    expected: tuple[Expectation, ...]
    text: str


def parse_flow(text: str, family: Family, sources: Mapping[str, str]) -> Iterator[Step]:
    """The lines of a script.  `sources` as for parse_packet.  Raises BadLine, which says in which line."""
    for number, line in enumerate(text.split("\n"), 1):
        try:
            step = _step(number, line, family, sources)
        except BadLine as bad:
            bad.line = number
            raise
        if step is not None:
            yield step


def _step(number: int, line: str, family: Family, sources: Mapping[str, str]) -> Step | None:
    words = _without_comment(words_of(line))
    if not words:
        return None
    arrow = next((at for at, word in enumerate(words) if word.text == "=>"), len(words))
    said, wanted = words[:arrow], words[arrow + 1 :]
    if arrow < len(words) and not wanted:
        raise words[arrow].bad("after '=>' stands what is expected", _EXPECTABLE)
    seconds, relative = 0.0, True
    if said and _TIME.fullmatch(said[0].text):
        relative = said[0].text.startswith("+")
        seconds = float(said[0].text)
        said = said[1:]
    elif said and said[0].text[:1] in "+-.0123456789":
        raise said[0].bad(
            f"{said[0].text!r} is no time", "seconds, such as 0.5, or +0.5 after the line before"
        )
    expected = tuple(_expectations(wanted))
    if not said:
        if expected:
            raise words[arrow].bad("nothing stands before it that could be expected to do so")
        return Step(number, seconds, relative, None, "wait", (), (), "")
    if said[0].text in COMMANDS:
        _check_command(said)
        texts = tuple(word.text for word in said[1:])
        return Step(number, seconds, relative, None, said[0].text, texts, expected, "")
    known = {**sources, **dict.fromkeys(COMMANDS, "")}
    if said[0].text not in sources:
        raise said[0].bad(
            f"{said[0].text!r} is neither where a packet comes from nor a command"
            f"{suggestion(said[0].text, known)}",
            f"{', '.join(sources)}; or {', '.join(COMMANDS)}",
        )
    packet = parse_packet(said, family, sources)
    return Step(number, seconds, relative, packet, "", (), expected, line[said[0].start : said[-1].end])


def _without_comment(words: list[Word]) -> list[Word]:
    for at, word in enumerate(words):
        if word.text.startswith("#"):
            return words[:at]
    return words


def _check_command(said: list[Word]) -> None:
    command = said[0]
    if command.text != "sysctl":
        if len(said) > 1:
            raise said[1].bad(f"{command.text} stands alone")
        return
    if len(said) == 1:
        raise command.bad("sysctl needs NAME=VALUE")
    for word in said[1:]:
        name, _, value = word.text.partition("=")
        if not name or not value.isdecimal():
            raise word.bad("must be NAME=VALUE, the value a whole number")


# -- expectations


def _expectations(words: list[Word]) -> Iterator[Expectation]:
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        text = word.text.rstrip(",")
        if not text:
            continue
        if text in VERDICTS:
            yield Expectation("verdict", text, word)
        elif text in STATES:
            yield Expectation("state", text, word)
        elif text == "by":
            if at == len(words):
                raise word.bad("after 'by' stands a rule", "such as filter:FORWARD:3 or filter:INPUT:policy")
            key = words[at].text.rstrip(",")
            if key.count(":") < 2 and key != "stack":
                raise words[at].bad(
                    f"{key!r} is no rule", "such as filter:FORWARD:3 or filter:INPUT:policy, or stack"
                )
            yield Expectation("by", key, words[at])
            at += 1
        else:
            name, equals, value = text.partition("=")
            if not equals or name not in _ASKED:
                known = (*VERDICTS, *STATES, "by", *(f"{each}=" for each in _ASKED))
                raise word.bad(f"{text!r} cannot be expected{suggestion(text, known)}", _EXPECTABLE)
            yield Expectation(name, value.strip('"'), word)


class Happened(NamedTuple):
    """What is known of a packet once it has gone its way: its record, and its connection."""

    record: dict[str, Any]
    entry: Any
    now: float


def actual(name: str, what: Happened) -> str:
    """What really is, of something that can be expected; "none" where there is no such thing."""
    if name == "verdict":
        return str(what.record.get("verdict", "none"))
    if name == "state":
        states = [each["state"] for each in what.record["ct"] if each["kind"] == "injected"]
        return str(states[0]) if states else "none"
    if name == "by":
        return str(what.record.get("dropped_by", "none"))
    return _ASKED[name](what)


def holds(expected: Expectation, what: Happened) -> bool:
    """Is it as expected?"""
    found = actual(expected.name, what)
    if expected.name in ("log", "answer") and expected.value != "none":
        return expected.value in found.split(", ")
    if expected.name in ("mark", "tos"):
        return found != "none" and _whole(found) == _whole(expected.value)
    return found == expected.value


def _whole(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return -1


def _own(what: Happened) -> dict[str, Any] | None:
    """The injected packet as it came out, or as it was delivered."""
    for place in ("out", "local"):
        for each in what.record.get(place, ()):
            if each["kind"] == "injected":
                found: dict[str, Any] = each
                return found
    return None


def _of_packet(name: str) -> Callable[[Happened], str]:
    def ask(what: Happened) -> str:
        own = _own(what)
        return "none" if own is None else str(own["packet"].get(name, "none"))

    return ask


def _end_of(address: str, port: str) -> Callable[[Happened], str]:
    def ask(what: Happened) -> str:
        own = _own(what)
        if own is None:
            return "none"
        packet = own["packet"]
        text = str(packet[address])
        if port not in packet:
            return text
        return f"[{text}]:{packet[port]}" if ":" in text else f"{text}:{packet[port]}"

    return ask


def _mark(what: Happened) -> str:
    for place in ("egress", "local"):
        for each in what.record.get(place, ()):
            if each["kind"] == "injected":
                return hex(each["mark"])
    return "none"


def _out(what: Happened) -> str:
    found = [each["out"] for each in what.record.get("egress", ()) if each["kind"] == "injected"]
    return str(found[0]) if found else "none"


def _answers(what: Happened) -> str:
    found = []
    for place in ("out", "local"):
        for each in what.record.get(place, ()):
            if each["kind"] == "generated":
                packet = each["packet"]
                text = str(packet["proto"])
                if "flags" in packet:
                    text += f":{packet['flags']}"
                elif "type" in packet:
                    text += f":{packet['type']}/{packet['code']}"
                found.append(text)
    return ", ".join(found) or "none"


def _logged(what: Happened) -> str:
    return ", ".join(str(each["prefix"]) for each in what.record.get("logs", ())) or "none"


def _protocol_state(what: Happened) -> str:
    from iptkit.conntrack.dump import state_name

    return "none" if what.entry is None else state_name(what.entry) or "none"


def _timeout(what: Happened) -> str:
    return "none" if what.entry is None else str(what.entry.remaining(what.now))


def _assured(what: Happened) -> str:
    from iptkit.extensions.world import ASSURED

    if what.entry is None:
        return "none"
    return "yes" if what.entry.status & ASSURED else "no"


def _connmark(what: Happened) -> str:
    return "none" if what.entry is None else hex(what.entry.mark)


_ASKED: dict[str, Callable[[Happened], str]] = {
    "out": _out,
    "mark": _mark,
    "src": _end_of("src", "sport"),
    "dst": _end_of("dst", "dport"),
    "ttl": _of_packet("ttl"),
    "tos": _of_packet("tos"),
    "answer": _answers,
    "log": _logged,
    "entries": lambda what: str(len(what.record["conntrack"])),
    "tracked": _protocol_state,
    "timeout": _timeout,
    "assured": _assured,
    "connmark": _connmark,
}
_EXPECTABLE = (
    f"a verdict ({', '.join(VERDICTS)}), a state ({', '.join(STATES)}), by TABLE:CHAIN:N, or "
    + ", ".join(f"{name}=" for name in _ASKED)
)
