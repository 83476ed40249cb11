"""Whole restore files against what the real tool did with them (the shared conformance data)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from iptkit import api
from iptkit.cli.getopt import GetoptError, OptionSpec, getopt
from iptkit.kernel.backend import CommitError
from iptkit.text.source import Source

DATA = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "restore"
CASES = sorted(p.name for p in DATA.iterdir()) if DATA.is_dir() else []

# What the real tool does and iptkit does not, each with the reason.
ON_PURPOSE = {
    "args-ipv4": "iptkit restore takes -4 and -6",
    "args-dash-file": "- is standard input",
    "policy-dash-builtin-c": "libiptc zeroes the counters of policies a file does not set; iptkit keeps them",
    "table-only-policy-kept": "as policy-dash-builtin-c",
    "quotes-unbalanced": "what it saves spans two lines and cannot be read back, by the real tool neither",
}

OPTIONS = [
    OptionSpec("counters", "c", ("counters",), 0),
    OptionSpec("noflush", "n", ("noflush",), 0),
    OptionSpec("test", "t", ("test",), 0),
    OptionSpec("verbose", "v", ("verbose",), 0),
    OptionSpec("version", "V", ("version",), 0),
    OptionSpec("binary", "b", ("binary",), 0),
    OptionSpec("help", "h", ("help",), 0),
    OptionSpec("table", "T", ("table",), 1),
    OptionSpec("modprobe", "M", ("modprobe",), 1),
    OptionSpec("wait", "w", ("wait",), -1),
    OptionSpec("interval", "W", ("wait-interval",), -1),
]


def tables(text: str) -> dict[str, tuple[list[str], str]]:
    """Chain lines and rules by table; a table with nothing in it counts as absent."""
    out = {}
    for name, body in re.findall(r"^\*(\S+)\n(.*?)^COMMIT$", text, re.M | re.S):
        lines = body.split("\n")[:-1]
        chains = [line for line in lines if line.startswith(":")]
        rules = "\n".join(line for line in lines if not line.startswith(":"))
        if rules or not all(line.endswith(" ACCEPT [0:0]") for line in chains):
            out[name] = (chains, re.sub(r"^(?=-A )", "[0:0] ", rules, flags=re.M))
    return out


@pytest.mark.skipif(not CASES, reason="the shared conformance data is not on this machine")
@pytest.mark.parametrize("name", CASES)
def test_restore(name: str, tmp_path: Path) -> None:
    if name in ON_PURPOSE:
        pytest.skip(ON_PURPOSE[name])
    case = json.loads((DATA / name / "expect.json").read_text(encoding="utf-8"))
    want = case["legacy"]
    family = 6 if case["family"] == "ipv6" else 4
    state = str(tmp_path / "state")
    before = DATA / name / "before.save"
    if before.exists():
        api.restore(before.read_bytes(), family, backend="memory", state=state, counters=True)  # type: ignore[arg-type]
    try:
        given, rest = getopt(case["args"], OPTIONS)
    except GetoptError:
        assert want["exit"] == 1
        return
    flags = dict(given)
    if len(rest) > 1 or "version" in flags or "x" in (flags.get("wait") or ""):
        pytest.skip("about the command line alone; tests/cli has these")
    try:
        done = api.restore_source(
            Source.of((DATA / name / "input.save").read_bytes(), "input.save"),
            family,  # type: ignore[arg-type]
            backend="memory",
            state=state,
            noflush="noflush" in flags,
            counters="counters" in flags,
            table=flags.get("table"),
            test="test" in flags,
            per_table=True,
        )
        status, messages = done.outcome.status, [d.message for d in done.outcome.diagnostics]
    except CommitError as error:
        status, messages = 1, [str(error)]
    after = api.save(api.live(family, backend="memory", state=state), counters=True)  # type: ignore[arg-type]
    wanted = want["save_c"].encode("utf-8", "surrogateescape").decode("latin-1")
    assert status == want["exit"], messages
    assert tables(after) == tables(wanted), messages
