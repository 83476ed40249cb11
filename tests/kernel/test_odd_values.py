"""Values at the edges of what the tools read, in a thousand spellings: verdict and print as iptables'.

The rules are made up from a seed.  Those that iptkit takes and holds loadable
are loaded together and compared line by line; each of the others is given to
the real tool on its own, which must refuse it, or the kernel.
"""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.extensions.spec import Extension, RuleFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.ruleset.model import Rule

    from .conftest import Netns

RESTORE, SAVE = "iptables-legacy-restore", "iptables-legacy-save"
RULES = 100


class Maker:
    """Makes rules of one kind."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing secret about it
        self.count = 0

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    def number(self, high: int) -> str:
        value = self.random.randint(0, high)
        odd = (f"{value:02}", f"{value:#x}", f"0{value:o}", f" {value}", f"+{value}", "-1", "", str(high + 1))
        return self.pick(*odd) if self.random.random() < 0.3 else str(value)

    def several(self, make: Callable[[], str], most: int, between: str = ",") -> str:
        return between.join(make() for _ in range(self.random.randint(1, most)))

    def limit(self) -> str:
        rate = self.number(10_000) + self.pick("", "/s", "/min", "/HOUR", "/day", "/", "/x")
        return f"-m limit --limit {quote(rate)} --limit-burst {quote(self.number(60))}"

    def hashlimit(self) -> str:
        rate = self.number(900) + self.pick("/s", "/m", "/hour", "b/s", "kb/s", "mb/s", "Mb/s", "kb/sec")
        options = [
            f"--hashlimit-{self.pick('upto', 'above')} {quote(rate)}",
            f"--hashlimit-name h{self.count}",
            self.pick("", f"--hashlimit-burst {quote(self.number(9000) + self.pick('', 'b', 'kb', 'mb'))}"),
            self.pick("", "--hashlimit-rate-match", "--hashlimit-mode srcip,,dstport"),
            self.pick("", f"--hashlimit-srcmask {quote(self.number(32))}", "--hashlimit-dstmask 255.255.0.0"),
        ]
        self.random.shuffle(options)
        return " ".join(filter(None, ["-m hashlimit", *options]))

    def statistic(self) -> str:
        value = self.pick(
            str(self.random.random()), f"{self.random.random():.3e}", "0x.8", ".5x", "nan", "1.01"
        )
        every = f"--mode nth --every {quote(self.number(5))} --packet {quote(self.number(5))}"
        return "-m statistic " + self.pick(f"--mode random --probability {quote(value)}", every)

    def time(self) -> str:
        date = "-".join(self.number(high) for high in (40, 12, 31))
        clock = self.several(lambda: self.number(59), 3, ":")
        options = [
            self.pick("", f"--datestart {quote('20' + date)}"),
            self.pick("", f"--timestart {quote(clock)}", "--kerneltz", "--utc"),
            self.pick(
                "", f"{self.pick('', '! ')}--monthdays {quote(self.several(lambda: self.number(31), 4))}"
            ),
            self.pick(
                "", f"--weekdays {quote(self.several(lambda: self.pick('Mo', 'Sunday', '3', '9', 'x'), 4))}"
            ),
        ]
        return " ".join(filter(None, ["-m time", *options]))

    def string(self) -> str:
        pieces = ("|", "|", "\\", "61", "0d 0a", "f", " ", "x", '"', "\x7f", "\xe9", "'")
        text = "".join(self.random.choices(pieces, k=self.random.randint(0, 7)))
        options = self.pick("", f" --from {quote(self.number(65535))}", f" --to {quote(self.number(65535))}")
        option, algorithm = self.pick("string", "hex-string"), self.pick("bm", "kmp")
        return f"-m string --{option} {quote(text)} --algo {algorithm}{options}"

    def recent(self) -> str:
        options = [
            self.pick("--set", "! --rcheck", "--update", "--remove"),
            self.pick("", f"--seconds {quote(self.number(99))}"),
            self.pick("", f"--hitcount {quote(self.number(70_000))}"),
            self.pick("", "--rttl", "--reap", "--rdest", "--name x", "--mask 255.255.0.0", "--mask 300"),
        ]
        self.random.shuffle(options)
        return " ".join(filter(None, ["-m recent", *options]))

    def u32(self) -> str:
        def test() -> str:
            steps = "".join(
                self.pick("&", "<<", " >> ", "@") + self.number(40) for _ in range(self.random.randint(0, 3))
            )
            ranges = self.several(lambda: self.number(99) + self.pick("", "", f" :{self.number(99)}"), 3)
            return f"{self.number(60)}{steps}{self.pick('=', ' = ', '=', '==')}{ranges}"

        return f"-m u32 --u32 {quote(self.several(test, 3, self.pick('&&', ' && ', '&&', '&')))}"

    def bpf(self) -> str:
        count = self.random.randint(0, 2)
        codes = (
            "48 0 0 9",
            "21 0 0 6",
            "5 0 0 0",
            "2 0 0 16",
            "7 0 0 0",
            "999 0 0 0",
            "1 2 3",
            "4 300 -1 5x",
        )
        program = [self.pick(*codes) for _ in range(count)] + [
            self.pick("6 0 0 1", "22 0 0 0", "6 0 0 1 ", "0 0 0 0")
        ]
        announced = str(count + 1) if self.random.random() < 0.8 else self.number(70)
        return f"-m bpf --bytecode {quote(','.join([announced, *program]))}"

    def queue(self) -> str:
        between = self.pick(":", ":", ":", "-")
        pair = self.number(65535) + between + self.number(65535)
        kind = self.pick(f"--queue-num {quote(self.number(65535))}", f"--queue-balance {quote(pair)}")
        return f"-j NFQUEUE {kind}{self.pick('', ' --queue-bypass', ' --queue-cpu-fanout')}"

    def estimator(self) -> str:
        interval, average = (self.number(9) + self.pick("s", "s", "SEC", "00ms", "m") for _ in range(2))
        name = f"--rateest-name e{self.count}"
        return f"-j RATEEST {name} --rateest-interval {quote(interval)} --rateest-ewmalog {quote(average)}"

    def rule(self, kind: str) -> str:
        self.count += 1
        made: str = getattr(self, kind)()
        return made


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def tool(netns: Netns, *command: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        input=text.encode("latin-1"),
        capture_output=True,
        check=False,
        env={**os.environ, "XTABLES_LOCKFILE": str(netns.lockfile), "LC_ALL": "C"},
    )


def file_of(*rules: str) -> str:
    return "\n".join(["*filter", *(f"-A INPUT {rule}" for rule in rules), "COMMIT", ""])


def refused_by_kernel(rule: Rule) -> bool:
    uses = [use for use in (*rule.matches, rule.target) if isinstance(use, Extension)]
    facts = RuleFacts(4, 0, False, 0, False, ())
    return any(problem for use in uses for problem in use.kernel_check(facts))


@pytest.mark.parametrize(
    "kind",
    ["limit", "hashlimit", "statistic", "time", "string", "recent", "u32", "bpf", "queue", "estimator"],
)
def test_as_iptables_does(netns: Netns, kind: str) -> None:
    netns.need(RESTORE, SAVE)
    maker = Maker(7)
    loadable: list[str] = []
    expected: list[str] = []
    wrong: list[str] = []
    with netns.entered():
        for rule in (maker.rule(kind) for _ in range(RULES)):
            outcome = api.interpret(api.parse(file_of(rule).encode("latin-1")), 4)
            if outcome.status:
                if not tool(netns, RESTORE, "--test", text=file_of(rule)).returncode:
                    wrong.append(f"iptables takes it: {rule}: {outcome.diagnostics[0].message}")
                continue
            found = outcome.ruleset.tables["filter"].chains["INPUT"].rules[0]
            if refused_by_kernel(found):
                done = tool(netns, RESTORE, text=file_of(rule))
                if not done.returncode or b"Error occurred" in done.stderr:
                    wrong.append(f"not refused by the kernel: {rule}")
                continue
            loadable.append(rule)
            expected.append(f"-A INPUT{found.text()}")
        wrong += loaded(netns, loadable, expected)
    assert len(loadable) > RULES // 10, "hardly a rule loads"
    assert not wrong, f"{len(wrong)} of {RULES} differ:\n" + "\n".join(wrong)


def loaded(netns: Netns, rules: list[str], expected: list[str]) -> list[str]:
    done = tool(netns, RESTORE, text=file_of(*rules))
    if done.returncode:
        if len(rules) == 1:
            return [f"does not load: {rules[0]}: {done.stderr.decode('latin-1').splitlines()[0]}"]
        middle = len(rules) // 2
        return loaded(netns, rules[:middle], expected[:middle]) + loaded(
            netns, rules[middle:], expected[middle:]
        )
    printed = tool(netns, SAVE, "-t", "filter").stdout.decode("latin-1").split("\n")
    found = [line for line in printed if line.startswith("-A ")]
    return [f"saved as {a}\nnot      {b}" for a, b in zip(found, expected, strict=True) if a != b]
