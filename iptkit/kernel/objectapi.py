"""The structs of extensions that iptkit does not know, made by their plugins.

libxtables plugins fill the structs; python-iptables' object API drives them.
That is slow, leaks, and ends the process where a plugin says so, so it runs in
a child: `python -m iptkit.kernel.objectapi` reads one JSON document and prints
another, and is killed when it takes too long.

    {"family": 4, "uses": [{"kind": "match", "name": "foo", "words": ["--bar", "1"], "protocol": 6}]}
    {"uses": [{"data": "3000666f6f..."}]}     or, for one that failed, {"error": "..."}

What comes back is believed only when its header says what was asked for.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from iptkit.kernel.entries import Unencodable
from iptkit.kernel.nftchild import SAFE_PATH
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from iptkit.values.context import Family

_HEADER = struct.Struct("@H29sB")
_TIMEOUT = 20.0  # seconds, for all uses of a file
_LIMIT = 1 << 16  # bytes of one struct; the kernel's own limit


class Use(NamedTuple):
    """One extension of a rule: `kind` is "match" or "target"; `protocol` is the rule's -p, 0 for any."""

    kind: str
    name: str
    words: tuple[str, ...]
    protocol: int


def encode(uses: Sequence[Use], family: Family) -> list[bytes]:
    """The matches and targets with their headers, in the order given.  Raises Unencodable."""
    request = {"family": family, "uses": [use._asdict() for use in uses]}
    environment = {
        "PATH": ":".join(SAFE_PATH),
        "LC_ALL": "C",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    environment.update((key, os.environ[key]) for key in ("XTABLES_LIBDIR",) if key in os.environ)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "iptkit.kernel.objectapi"],
            input=json.dumps(request).encode("ascii"),
            capture_output=True,
            check=False,
            timeout=_TIMEOUT,
            env=environment,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise Unencodable(f"the plugins of {_names(uses)} took more than {_TIMEOUT:g} s") from None
    except OSError as error:
        raise Unencodable(f"cannot run {sys.executable}: {error.strerror}") from None
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    try:
        answers = json.loads(done.stdout)["uses"]
    except (ValueError, KeyError, TypeError):
        # A plugin that does not like its options ends the process.
        raise Unencodable(f"the plugins of {_names(uses)} refuse it: {said or 'no reason given'}") from None
    return [_checked(use, answer) for use, answer in zip(uses, answers, strict=True)]


def _names(uses: Iterable[Use]) -> str:
    return ", ".join(dict.fromkeys(use.name for use in uses))


def _checked(use: Use, answer: dict[str, str]) -> bytes:
    if "error" in answer:
        raise Unencodable(f"{use.kind} {use.name}: {answer['error']}")
    data = bytes.fromhex(answer["data"])
    if len(data) < _HEADER.size or len(data) > _LIMIT or len(data) % 8:
        raise Unencodable(f"{use.kind} {use.name}: its plugin made {len(data)} bytes, which cannot be right")
    size, raw, _ = _HEADER.unpack_from(data)
    name = raw.partition(b"\0")[0].decode("latin-1")
    if size != len(data) or not name:
        raise Unencodable(f"{use.kind} {use.name}: its plugin made a struct of {name!r}, {size} bytes")
    return data


# -- in the child


def _options(words: Sequence[str]) -> list[tuple[bool, str, list[str]]]:
    """The options among words: inverted or not, name without its dashes, values."""
    out: list[tuple[bool, str, list[str]]] = []
    inverted = False
    for word in words:
        if word == "!":
            inverted = True
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            out.append((inverted, name, [value] if equals else []))
            inverted = False
        elif out:
            out[-1][2].append(word)
        else:
            raise ValueError(f"{word!r} is not an option with two dashes")
    return out


def _struct(module: Any, use: dict[str, Any]) -> bytes:
    rule = module.Rule() if module.__name__.endswith("ip4tc") else module.Rule6()
    rule.get_ip().proto = use["protocol"]
    if use["kind"] == "match":
        made = module.Match(rule, use["name"])
    else:
        # Else it opens all tables to look for a chain of that name, which creates them.
        module.Target.STANDARD_TARGETS.append(use["name"])
        made = module.Target(rule, use["name"])
    for inverted, name, values in _options(use["words"]):
        value: Any = ["!", *values] if inverted else (values or "")
        made.parse(name, value)
    made._final_check()
    if use["kind"] == "match":
        return bytes(made.match_buf)
    return bytes(made._target_buf[: made.size])


def main() -> None:
    """Answer the request on standard input."""
    from iptkit.kernel import libiptc

    request = json.load(sys.stdin)
    family: Family = 6 if request["family"] == 6 else 4
    libiptc.load(family)
    if family == 4:
        from iptc import ip4tc as module
    else:
        from iptc import ip6tc as module
    answers = []
    for use in request["uses"]:
        try:
            answers.append({"data": _struct(module, use).hex()})
        except Exception as error:  # noqa: BLE001  # whatever goes wrong in there is the answer
            answers.append({"error": str(error) or type(error).__name__})
    sys.stdout.write(json.dumps({"uses": answers}))


if __name__ == "__main__":
    main()
