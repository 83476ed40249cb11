"""Edits for findings that bring none along, made from the line and the place of the finding.

A cure need not fit every case: iptkit.lint.fixes takes back what does harm.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.text.codes import CODES
from iptkit.text.diagnostic import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.text.diagnostic import Diagnostic

    # Of a finding and the lines of its file: (line, start, end, text).
    Change = tuple[int, int, int, str]
    Cure = Callable[[Diagnostic, list[str]], Iterator[Change]]

SLOTS = 15  # ports of one multiport; a range takes two
_COUNTERS = re.compile(r"\[[0-9]+:[0-9]+\]")


def with_cures(found: list[Diagnostic], text: str) -> list[Diagnostic]:
    """The findings, with edits for those that have none and can be cured."""
    if not any(each.code in _CURES and not each.fix for each in found):
        return found
    lines = text.split("\n")
    return [_cured(each, lines) if each.code in _CURES and not each.fix else each for each in found]


def _cured(found: Diagnostic, lines: list[str]) -> Diagnostic:
    safe = CODES[found.code][2] == "safe"
    changes = _CURES[found.code](found, lines)
    fix = tuple([Edit(Span(line, start, end), text, safe) for line, start, end, text in changes])
    return found._replace(fix=fix)


def _parts(found: Diagnostic, lines: list[str]) -> tuple[int, str, int, int]:
    """Number and text of the line of a finding, and where in it that is."""
    span = found.span
    return span.line, lines[span.line - 1], span.start, span.end


# -- lines


def _without_line(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number = found.span.line
    yield number, 0, len(lines[number - 1]) + 1, ""


def _with_commit(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    for number in range(found.span.line + 1, len(lines) + 1):
        if lines[number - 1].startswith("*"):
            yield number, 0, 0, "COMMIT\n"
            return
    last = lines[-1]
    yield len(lines), len(last), len(last), "\nCOMMIT\n" if last else "COMMIT\n"


def _with_rule(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """The rule that the hint names, before all others of its chain."""
    chain = " ".join(found.hint.split()[:2]) + " "
    for number in range(found.span.line + 1, len(lines) + 1):
        if lines[number - 1].startswith((chain, "COMMIT")):
            yield number, 0, 0, found.hint + "\n"
            return


def _without_counters(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    for number, raw in enumerate(lines, 1):
        if raw[:1] in ("[", ":"):
            hit = _COUNTERS.search(raw)
            if hit and hit[0] != "[0:0]" and (hit.start() == 0 or raw[0] == ":"):
                yield number, hit.start(), hit.end(), "[0:0]"


def _two_rules(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    if re.search(r"!\s+--\S+\s+\Z", raw[:start]):
        return
    groups: list[list[str]] = [[]]
    used = 0
    for item in raw[start:end].split(","):
        slots = 2 if ":" in item else 1
        if used + slots > SLOTS:
            groups.append([])
            used = 0
        groups[-1].append(item)
        used += slots
    rules = [raw[:start] + ",".join(group) + raw[end:] for group in groups]
    yield number, 0, len(raw), "\n".join(rules)


# -- words


def _written(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """What the hint says is to be written in place of it."""
    number, _, start, end = _parts(found, lines)
    if found.hint.startswith("write "):
        yield number, start, end, found.hint.removeprefix("write ")


def _replaced(text: str) -> Cure:
    def cure(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
        number, _, start, end = _parts(found, lines)
        yield number, start, end, text

    return cure


def _wildcard(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, _, start, end = _parts(found, lines)
    if found.hint.endswith("+") and " " not in found.hint:
        yield number, start, end, found.hint


def _without_alias(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    yield number, start, end, raw[start:end].partition(":")[0]


def _jump(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """-j in place of the -g before it."""
    number, raw, start, _ = _parts(found, lines)
    hit = re.search(r"(?:-g|--goto)(?=\s+\Z)", raw[:start])
    if hit:
        yield number, hit.start(), hit.end(), "-j"


def _before_jump(text: str) -> Cure:
    """Something more before -j."""

    def cure(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
        number, raw, _, _ = _parts(found, lines)
        hit = re.search(r"(?<!\S)(?:-j|--jump)\s", raw)
        if hit:
            yield number, hit.start(), hit.start(), text

    return cure


def _ordered(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """The smaller end of a range first."""
    number, raw, start, end = _parts(found, lines)
    text = raw[start:end]
    ends = text.split("-" if "-" in text else ":")
    if len(ends) == 2 and all(ends):
        yield number, start, end, ("-" if "-" in text else ":").join(reversed(ends))


def _first(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """What the hint says must stand first."""
    number, raw, start, end = _parts(found, lines)
    hint = re.fullmatch(r"put (-\S+ \S+) first", found.hint)
    later = hint and re.compile(rf"\s+{re.escape(hint[1])}(?!\S)").search(raw, end)
    if hint and later:
        negated = re.search(r"!\s+\Z", raw[:start])
        at = negated.start() if negated else start
        yield number, at, at, hint[1] + " "
        yield number, later.start(), later.end(), ""


def _negation_first(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    option = re.search(r"(-\S+)\s+\Z", raw[:start])
    if raw[start:end] == "!" and option:
        yield number, option.start(), end, f"! {option[1]}"


def _unglued(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    word = raw[start:end]
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if equals:
            yield number, start, end, f"{name} {value}"
    else:
        yield number, start + 2, start + 2, " "


def _option_gone(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    option = re.search(r"\s+--?[A-Za-z]\S*\s+\Z", raw[:start])
    if option:
        yield number, option.start(), end, ""


def _dropped(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = re.search(r"(?<!\S)(-j|--jump)\s+REJECT(?:\s+--reject-with\s+\S+)?", raw)
    if hit:
        yield number, hit.start(), hit.end(), "-j DROP"


def _conntrack(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    option = re.search(r"(?<!\S)--state(?!\S)", raw)
    if raw[start:end] == "state" and option:
        yield number, start, end, "conntrack"
        yield number, option.start(), option.end(), "--ctstate"


def _from_loopback(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = re.match(r"(?:\[[0-9:]+\] )?-A INPUT ", raw)
    if hit and "-i " not in raw:
        yield number, hit.end(), hit.end(), "-i lo "


def _accepting(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = re.match(r":\S+\s+DROP(?!\S)", raw)
    if hit:
        yield number, hit.end() - len("DROP"), hit.end(), "ACCEPT"


_CURES: dict[str, Cure] = {
    "IPT004": _with_commit,
    "IPT005": _without_line,
    "IPT026": _replaced("-"),
    "IPT027": _replaced("[0:0]"),
    "IPT104": _jump,
    "IPT115": _replaced("NFQUEUE --queue-num 0"),
    "IPT121": _before_jump("--tcp-flags SYN,RST SYN "),
    "IPT122": _two_rules,
    "IPT127": _ordered,
    "IPT134": _first,
    "IPT137": _negation_first,
    "IPT140": _unglued,
    "IPT209": _written,
    "IPT210": _wildcard,
    "IPT211": _without_alias,
    "IPT215": _jump,
    "IPT217": _accepting,
    "IPT221": _option_gone,
    "IPT303": _with_rule,
    "IPT304": _with_rule,
    "IPT310": _dropped,
    "IPT313": _before_jump("-m limit --limit 5/min "),
    "IPT315": _from_loopback,
    "IPT317": _without_line,
    "IPT501": _conntrack,
    "IPT504": _replaced("CT --notrack"),
    "IPT505": _without_line,
    "IPT602": _without_counters,
}
