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
_APPENDED = re.compile(r"(\[[0-9]+:[0-9]+\] )?-A (\S+) ")


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


def _section_start(number: int, lines: list[str]) -> int:
    """The number of the `*table` line before a line, 0 for none."""
    return next((at for at in range(number - 1, 0, -1) if lines[at - 1].startswith("*")), 0)


def _first_rule(chain: str, number: int, lines: list[str]) -> int:
    """The number of the first rule of a chain in the section of a line and before that, 0 for none."""
    for at in range(_section_start(number, lines) + 1, number):
        hit = _APPENDED.match(lines[at - 1])
        if hit and hit[2] == chain:
            return at
    return 0


# -- lines


def _gone(number: int, lines: list[str]) -> Change:
    """Without a line, its end too."""
    return number, 0, len(lines[number - 1]) + 1, ""


def _without_line(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    yield _gone(found.span.line, lines)


def _without_chain(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """Without the chain that a line declares, and its rules."""
    number, raw, start, end = _parts(found, lines)
    yield from _without_line(found, lines)
    for at in range(number + 1, len(lines) + 1):
        if lines[at - 1] == "COMMIT":
            return
        hit = _APPENDED.match(lines[at - 1])
        if hit and hit[2] == raw[start:end].lstrip(":"):
            yield _gone(at, lines)


def _not_again(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """Without a line that declares a user chain again."""
    number, raw, _, _ = _parts(found, lines)
    if re.match(r":\S+ -(?!\S)|-N ", raw):
        yield _gone(number, lines)


def _to_top(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """A rule before all others of its chain."""
    number, raw, _, _ = _parts(found, lines)
    hit = _APPENDED.match(raw)
    top = hit and _first_rule(hit[2], number, lines)
    if top:
        yield top, 0, 0, raw + "\n"
        yield _gone(number, lines)


def _declared(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """What a command does, as iptables-save would have it: a chain line, or a rule at its place."""
    number, raw, _, _ = _parts(found, lines)
    created = re.fullmatch(r"-N (\S+)", raw)
    if created:
        yield number, 0, len(raw), f":{created[1]} - [0:0]"
    inserted = re.match(r"-I (\S+)(?: 1)? (?=[-!])", raw)
    if inserted:
        rule = f"-A {inserted[1]} {raw[inserted.end() :]}"
        top = _first_rule(inserted[1], number, lines)
        if top:
            yield top, 0, 0, rule + "\n"
            yield _gone(number, lines)
        else:
            yield number, 0, len(raw), rule


def _own_table(number: int, lines: list[str]) -> re.Pattern[str]:
    """A -t that names the table a line stands in, with the blanks behind it."""
    top = _section_start(number, lines)
    table = re.escape(lines[top - 1][1:].split(" ")[0]) if top else r"(?!)"
    return re.compile(rf"(?:-t ?|--table[ =]){table}(?:[ \t]+|\Z)")


def _bare_rule(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """The words behind the name of the program, and the table where that is this one."""
    number, raw, _, _ = _parts(found, lines)
    hit = re.match(r"[ \t]*(?:sudo[ \t]+)?(?:\S*/)?ip6?tables(?:-legacy|-nft)?[ \t]+(?=-)", raw)
    if hit:
        table = _own_table(number, lines).match(raw, hit.end())
        yield number, 0, (table or hit).end(), ""


def _without_own_table(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, _ = _parts(found, lines)
    hit = _own_table(number, lines).match(raw, start)
    if hit:
        begin = start if hit.end() < len(raw) else len(raw[:start].rstrip())
        yield number, begin, hit.end(), ""


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


def _grouped(ports: list[str]) -> list[str]:
    """Ports and ranges, as many in a list as one multiport takes."""
    groups: list[list[str]] = [[]]
    used = 0
    for item in ports:
        slots = 2 if ":" in item else 1
        if used + slots > SLOTS:
            groups.append([])
            used = 0
        groups[-1].append(item)
        used += slots
    return [",".join(group) for group in groups]


def _two_rules(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    if re.search(r"!\s+--\S+\s+\Z", raw[:start]):
        return
    rules = [raw[:start] + group + raw[end:] for group in _grouped(raw[start:end].split(","))]
    yield number, 0, len(raw), "\n".join(rules)


def _merged(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """The rules from a line on that differ in one port only, as one with multiport."""
    number, raw, _, _ = _parts(found, lines)
    hit = re.search(r"(?<!! )(?<!\S)(?:-m (?:tcp|udp) )?--([ds]port) ([0-9:]+)(?= -[mjg] |\Z)", raw)
    if not hit:
        return
    before, after = raw[: hit.start(2)], raw[hit.end() :]
    ports = []
    for other in lines[number - 1 :]:
        port = other[len(before) : len(other) - len(after)]
        if other != before + port + after or not re.fullmatch("[0-9:]+", port):
            break
        ports.append(port)
    match = f"{raw[: hit.start()]}-m multiport --{hit[1]}s "
    yield number, 0, len(raw), "\n".join([match + group + after for group in _grouped(ports)])
    for at in range(number + 1, number + len(ports)):
        yield _gone(at, lines)


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


def _with_protocol(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """The protocol that the hint names."""
    number, raw, _, _ = _parts(found, lines)
    hint = re.fullmatch(r"add (-p \S+) to the rule", found.hint)
    hit = _APPENDED.match(raw)
    if hint and hit and not re.search(r"(?<!\S)(?:-p|--proto\S*)(?!\S)", raw):
        yield number, hit.end(), hit.end(), hint[1] + " "


def _with_syn(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = re.search(r"(?<!\S)-p (?:tcp|6) (?:-m tcp )?", raw)
    if hit:
        yield number, hit.end(), hit.end(), "--syn "


def _nflog(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    """NFLOG with what was asked of ULOG, whose group was 1 where none was given."""
    number, raw, _, _ = _parts(found, lines)
    hit = re.search(r"(?<!\S)ULOG(?!\S)", raw)
    if hit:
        rest = raw[hit.end() :]
        for old, new in _ULOG.items():
            rest = re.sub(rf"(?<!\S){old}(?!\S)", new, rest)
        group = "" if "--nflog-group" in rest else " --nflog-group 1"
        yield number, hit.start(), len(raw), "NFLOG" + group + rest


_ULOG = {
    "--ulog-nlgroup": "--nflog-group",
    "--ulog-prefix": "--nflog-prefix",
    "--ulog-qthreshold": "--nflog-threshold",
    "--ulog-cprange": "--nflog-size",
}


def _conntrack(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, start, end = _parts(found, lines)
    option = re.search(r"(?<!\S)--state(?!\S)", raw)
    if raw[start:end] == "state" and option:
        yield number, start, end, "conntrack"
        yield number, option.start(), option.end(), "--ctstate"


def _from_loopback(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = _APPENDED.match(raw)
    if hit and hit[2] == "INPUT" and "-i " not in raw:
        yield number, hit.end(), hit.end(), "-i lo "


def _accepting(found: Diagnostic, lines: list[str]) -> Iterator[Change]:
    number, raw, _, _ = _parts(found, lines)
    hit = re.match(r":\S+\s+DROP(?!\S)", raw)
    if hit:
        yield number, hit.end() - len("DROP"), hit.end(), "ACCEPT"


_CURES: dict[str, Cure] = {
    "IPT004": _with_commit,
    "IPT005": _without_line,
    "IPT016": _bare_rule,
    "IPT018": _without_own_table,
    "IPT019": _declared,
    "IPT022": _replaced(""),
    "IPT024": _not_again,
    "IPT026": _replaced("-"),
    "IPT027": _replaced("[0:0]"),
    "IPT104": _jump,
    "IPT115": _replaced("NFQUEUE --queue-num 0"),
    "IPT120": _with_protocol,
    "IPT121": _before_jump("--tcp-flags SYN,RST SYN "),
    "IPT122": _two_rules,
    "IPT127": _ordered,
    "IPT134": _first,
    "IPT137": _negation_first,
    "IPT140": _unglued,
    "IPT206": _without_chain,
    "IPT207": _without_line,
    "IPT209": _written,
    "IPT210": _wildcard,
    "IPT211": _without_alias,
    "IPT215": _jump,
    "IPT217": _accepting,
    "IPT221": _option_gone,
    "IPT303": _with_rule,
    "IPT304": _with_rule,
    "IPT309": _with_syn,
    "IPT310": _dropped,
    "IPT313": _before_jump("-m limit --limit 5/min "),
    "IPT315": _from_loopback,
    "IPT317": _without_line,
    "IPT401": _to_top,
    "IPT403": _merged,
    "IPT501": _conntrack,
    "IPT502": _nflog,
    "IPT504": _replaced("CT --notrack"),
    "IPT505": _without_line,
    "IPT602": _without_counters,
}
