"""The same rules to the real tool and to iptkit: who takes them, how they are saved, what the kernel holds.

Everything here runs in the network namespace the caller has made.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from iptkit import api
from iptkit.extensions.ipset import SetUse
from iptkit.extensions.spec import Extension
from iptkit.kernel import sockopt
from iptkit.kernel.entries import FRONTS, Decoder, Encoder, decode_use, encode_use, with_header
from iptkit.kernel.ipset import indices_of, names_of
from iptkit.kernel.machine import machine_names
from iptkit.kernel.sockopt import layout_of
from iptkit.ruleset.binding import Binder
from iptkit.text.diagnostic import Severity
from tests.kernel.test_extension_cases import NOT_TO_THE_BYTE

from .rules import USER_CHAINS, Made

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from iptkit.ruleset.model import Rule
    from iptkit.values.context import Context, Family

TOOL: dict[Family, str] = {4: "iptables-legacy", 6: "ip6tables-legacy"}
SETS = (("s", "hash:ip"), ("n", "hash:net"), ("p", "hash:ip,port"))
AT_ONCE = 200  # rules to a file
# What iptables itself decides is no reason of the kernel's.
DECIDED = ("IPT101", "IPT103", "IPT104", "IPT106", "IPT107")


class Difference(NamedTuple):
    """A rule that the real tool and iptkit do not agree on."""

    made: Made
    kind: str  # verdict, status, kernel, saved, bytes
    real: str
    ours: str

    def report(self) -> str:
        made = self.made
        where = f"[{self.kind}] IPv{made.family} {made.table}"
        return f"{where}: {made.line}\n    real: {self.real}\n    ours: {self.ours}"


class Answer(NamedTuple):
    """What a program said: its exit status, 0 for taken; and its message."""

    status: int
    message: str = ""
    ended: bool = False  # it printed something instead: help, a version


class Count(NamedTuple):
    """How many rules of a run were what, by the real tool."""

    loaded: int = 0
    refused: int = 0
    kernel: int = 0
    passed_over: int = 0  # ended the tool early, or crashed it

    def plus(self, other: Count) -> Count:
        return Count(*(mine + its for mine, its in zip(self, other, strict=True)))


class Ours(NamedTuple):
    """What iptkit says of a rule."""

    status: int
    message: str
    rules: tuple[Rule, ...]  # as many as its lists of addresses make
    saved: tuple[str, ...]
    refusal: str  # why a kernel refuses it
    wanting: str  # which object of the machine it needs


def make_sets() -> None:
    for letter, kind in SETS:
        for family, extra in ((4, []), (6, ["family", "inet6"])):
            subprocess.run(["ipset", "-exist", "create", f"{letter}{family}", kind, *extra], check=True)


class Comparison:
    """Holds rules of one family against the real tool."""

    def __init__(self, family: Family) -> None:
        self.family: Family = family
        self.binder = Binder(family, machine_names())
        self.encoder = Encoder(family, encode)
        self.count = Count()

    def differences(self, rules: Iterable[Made]) -> Iterator[Difference]:
        """Yield what they do not agree on, each rule confirmed on its own."""
        tables: dict[str, list[Made]] = {}
        for made in rules:
            tables.setdefault(made.table, []).append(made)
        for table, group in tables.items():
            for at in range(0, len(group), AT_ONCE):
                for found in self._compared(table, group[at : at + AT_ONCE]):
                    yield from self._alone(found.made)

    def _alone(self, made: Made) -> list[Difference]:
        counted = self.count
        found = self._compared(made.table, [made])
        self.count = counted
        return found

    def differs(self, made: Made) -> list[Difference]:
        return self._alone(made)

    def _compared(self, table: str, group: Sequence[Made]) -> list[Difference]:
        found: list[Difference] = []
        answers = self._tested(table, group)
        to_load: list[tuple[Made, Ours]] = []
        passed = refused = 0
        for made, answer in zip(group, answers, strict=True):
            if answer.ended or answer.status not in (0, 1, 2):
                passed += 1
                continue
            ours = self.ours(made)
            if answer.status:
                refused += 1
                if not ours.status:
                    found.append(Difference(made, "verdict", f"refused: {answer.message}", "taken"))
                elif ours.status != answer.status:
                    found.append(
                        Difference(
                            made,
                            "status",
                            f"{answer.status}: {answer.message}",
                            f"{ours.status}: {ours.message}",
                        )
                    )
            elif ours.status:
                found.append(Difference(made, "verdict", "taken", f"refused: {ours.message}"))
            else:
                to_load.append((made, ours))
        expected = [each for each in to_load if not (each[1].refusal or each[1].wanting)]
        doubtful = [each for each in to_load if each[1].refusal or each[1].wanting]
        loaded = self._loaded(table, expected, found)
        loaded += sum(self._loaded(table, [each], found) for each in doubtful)
        self.count = self.count.plus(Count(loaded, refused, len(to_load) - loaded, passed))
        return found

    # -- the real tool

    def _run(self, program: str, *options: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [f"{TOOL[self.family]}-{program}", *options],
            input=text.encode("latin-1"),
            capture_output=True,
            check=False,
            timeout=60,
        )

    def _tested(self, table: str, group: Sequence[Made]) -> list[Answer]:
        """What iptables-restore --test says of each.  It ends at the first it refuses: start anew."""
        answers: list[Answer] = []
        head = [f"*{table}", *(f":{name} - [0:0]" for name in USER_CHAINS)]
        while len(answers) < len(group):
            rest = group[len(answers) :]
            lines = [*head, *(made.line for made in rest), "COMMIT", ""]
            done = self._run("restore", "--test", text="\n".join(lines))
            said = done.stderr.decode("latin-1")
            told = [line for line in said.splitlines() if not line.startswith(("Warning: ", "--set option"))]
            message = "\n".join(told)
            if done.returncode == 0 and not done.stdout:
                answers += [Answer(0)] * len(rest)
                break
            at = re.search(r"(?:line: |line )(\d+)(?: failed)?", message)
            if len(rest) == 1:
                answers.append(Answer(done.returncode, message.partition("\n")[0], bool(done.stdout)))
                continue
            if at is None:
                # Crashed, or printed help: at which, one by one.
                for made in rest:
                    answers += self._tested(table, [made])
                break
            good = int(at[1]) - len(head) - 1
            answers += [Answer(0)] * good
            answers.append(Answer(done.returncode, message.partition("\n")[0]))
        return answers

    def _loaded(self, table: str, group: Sequence[tuple[Made, Ours]], found: list[Difference]) -> int:
        """Load rules together and compare what then is there; how many the kernel took."""
        if not group:
            return 0
        marks = [f"-A {made.chain} -m comment --comment fuzz{at}" for at, (made, _) in enumerate(group)]
        lines = [f"*{table}", *(f":{name} - [0:0]" for name in USER_CHAINS)]
        for (made, _), mark in zip(group, marks, strict=True):
            lines += [made.line, mark]
        done = self._run("restore", text="\n".join([*lines, "COMMIT", ""]))
        if done.returncode and len(group) > 1:
            half = len(group) // 2
            return self._loaded(table, group[:half], found) + self._loaded(table, group[half:], found)
        made, ours = group[0]
        if done.returncode:
            if not (ours.refusal or ours.wanting or self._lacking(ours)):
                said = done.stderr.decode("latin-1").strip().partition("\n")[0]
                found.append(Difference(made, "kernel", f"the kernel refuses it: {said}", "it loads"))
            return 0
        if ours.refusal:
            found.append(Difference(made, "kernel", "it loads", f"the kernel refuses it: {ours.refusal}"))
        self._compare_saved(table, group, marks, found)
        self._compare_bytes(table, group, found)
        sockopt.write_table(sockopt.blank_image(self.family, table))
        return len(group)

    def _lacking(self, ours: Ours) -> bool:
        """Does this kernel know all that the rule uses?"""
        from iptkit.kernel.sockopt import knows

        uses = [use for rule in ours.rules for use in (*rule.matches, rule.target)]
        return not all(
            knows(self.family, use.kind, use.kernel_name, use.revision)
            for use in uses
            if isinstance(use, Extension)
        )

    def _compare_saved(
        self, table: str, group: Sequence[tuple[Made, Ours]], marks: Sequence[str], found: list[Difference]
    ) -> None:
        printed = self._run("save", "-t", table).stdout.decode("latin-1")
        saved = [line for line in printed.split("\n") if line.startswith("-A ")]
        of: dict[int, list[str]] = {}
        chains: dict[str, list[str]] = {}
        for line in saved:
            chains.setdefault(line.split(" ", 2)[1], []).append(line)
        for lines in chains.values():
            begin = 0
            for at, line in enumerate(lines):
                mark = re.fullmatch(r"-A \S+ -m comment --comment fuzz(\d+)", line)
                if mark is not None:
                    of[int(mark[1])] = lines[begin:at]
                    begin = at + 1
        for at, (made, ours) in enumerate(group):
            if tuple(of[at]) != ours.saved:
                found.append(Difference(made, "saved", " ⏎ ".join(of[at]), " ⏎ ".join(ours.saved)))

    def _compare_bytes(self, table: str, group: Sequence[tuple[Made, Ours]], found: list[Difference]) -> None:
        image = sockopt.read_table(self.family, table)
        starts = sockopt.chain_starts(image)
        decoder = Decoder(self.family, {offset: name for name, offset in starts.items()}, decode)
        entries = list(sockopt.entries(image))
        at = {
            name: index
            for index, (offset, _) in enumerate(entries)
            for name in starts
            if starts[name] == offset
        }
        for made, ours in group:
            for rule in ours.rules:
                offset, entry = entries[at[made.chain]]
                at[made.chain] += 1
                try:
                    problem = self._bytes_differ(entry, offset, rule, decoder)
                except ValueError as error:
                    problem = f"not encoded or decoded: {error}"
                if problem:
                    found.append(Difference(made, "bytes", rule.text().strip(), problem))
                    break
            at[made.chain] += len(ours.saved) - len(ours.rules) + 1

    def _bytes_differ(self, entry: memoryview, offset: int, rule: Rule, decoder: Decoder) -> str:
        """Does the kernel hold the bytes that iptkit makes, and does iptkit read them as the rule?"""
        layout, front = layout_of(self.family), FRONTS[self.family]
        uses = (*rule.matches, rule.target)
        theirs, mine = bytes(entry), self.encoder.entry(rule)
        if theirs[:front] != mine[:front] and layout.next_offset(entry) == len(mine):
            return f"the kernel's entry begins {theirs[:front].hex()}, ours {mine[:front].hex()}"
        if not any(isinstance(use, Extension) and use.name in NOT_TO_THE_BYTE for use in uses):
            # Verdicts and jumps are put in by libiptc.
            end = (
                layout.next_offset(entry)
                if isinstance(rule.target, Extension)
                else layout.target_offset(entry)
            )
            apart = words_apart(theirs[layout.size : end], mine[layout.size : end])
            if apart:
                return apart
        found = decoder.entry(entry, offset)
        if (found.matches, found.target) != (rule.matches, rule.target) or found.text() != rule.text():
            return f"read back as{found.text()}"
        return ""

    # -- iptkit

    def ours(self, made: Made) -> Ours:
        document = api.parse(made.text().encode("latin-1"))
        outcome = api.interpret(document, self.family, binder=self.binder)
        if outcome.status:
            return Ours(outcome.status, outcome.diagnostics[0].message, (), (), "", "")
        rules = tuple(outcome.ruleset.tables[made.table].chains[made.chain].rules)
        saved = tuple(f"-A {made.chain}{rule.text()}" for rule in rules)
        refusal = wanting = ""
        for each in api.lint(
            document, self.binder, self.family, backends=("legacy",), select=("IPT1",), ignore=DECIDED
        ):
            if each.code == "IPT141":
                wanting = each.message
            elif each.severity is Severity.ERROR:
                refusal = each.message
        return Ours(0, "", rules, saved, refusal, wanting)


def words_apart(theirs: bytes, mine: bytes) -> str:
    """Where two structs differ, in words of four bytes; "" where they do not."""
    if len(theirs) != len(mine):
        return f"the kernel holds {len(theirs)} bytes, we make {len(mine)}: {theirs.hex()}, {mine.hex()}"
    return "; ".join(
        f"word {at >> 2}: the kernel holds {theirs[at : at + 4].hex()}, we make {mine[at : at + 4].hex()}"
        for at in range(0, len(mine), 4)
        if theirs[at : at + 4] != mine[at : at + 4]
    )


def encode(use: Extension, family: Family) -> bytes:
    """A use in the kernel's struct; sets by the numbers they have here."""
    if isinstance(use, SetUse):
        return with_header(use, use.encode_with(family, indices_of(use.set_names(), family)))
    return encode_use(use, family)


def decode(kind: str, name: str, revision: int, payload: bytes, context: Context) -> Extension:
    return decode_use(kind, name, revision, payload, context, names_of)


def shrunk(difference: Difference, comparison: Comparison, patience: int = 200) -> Difference:
    """The same kind of difference in the smallest rule found."""
    best = difference
    tries = 0
    again = True
    while again:
        again = False
        for made in smaller(best.made):
            tries += 1
            if tries > patience:
                return best
            found = [each for each in comparison.differs(made) if each.kind == best.kind]
            if found:
                best = found[0]
                again = True
                break
    return best


def smaller(made: Made) -> Iterator[Made]:
    """Rules with a little less in them: without pieces, without a `!`, with a shorter value."""
    pieces = made.pieces
    for size in range(len(pieces), 0, -1):
        for at in range(len(pieces) - size + 1):
            yield made._replace(pieces=pieces[:at] + pieces[at + size :])
    for at, piece in enumerate(pieces):
        for less in _less(piece):
            yield made._replace(pieces=(*pieces[:at], less, *pieces[at + 1 :]))


def _less(piece: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if piece[0] == "!":
        yield piece[1:]
    flag, equals, value = piece[-1].partition("=") if piece[-1].startswith("--") else ("", "", piece[-1])
    if equals:
        yield (*piece[:-1], flag, value)
    elif len(piece) > 1 and len(value) > 2:
        half = len(value) // 2
        yield (*piece[:-1], value[:half])
        yield (*piece[:-1], value[half:])
        if len(value) < 12:
            for at in range(len(value)):
                yield (*piece[:-1], value[:at] + value[at + 1 :])
