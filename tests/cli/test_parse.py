"""`iptkit parse`: the file back, and the tree as JSON."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iptkit import api
from iptkit.cli.main import iptkit
from iptkit.cli.parse import schema_text
from iptkit.report.ast import document_of, render, text_of
from iptkit.ruleset.binding import Binder
from iptkit.syntax.words import LINE_LIMIT
from tests.extensions import cases

SHARED = Path(__file__).resolve().parents[3] / "shared" / "corpus"
# Validating is slow, and a large file says nothing else.
FILES = [path for path in sorted(SHARED.glob("*/*.save")) if path.stat().st_size < 50_000]
BINDERS = {4: Binder(4), 6: Binder(6)}

PIECES = st.sampled_from(
    [
        *' \t"\\!-#*:[]\0\r\n',
        "-A ", "-D INPUT 1", "-j ", "-m ", "-p tcp ", "--dport ", "80", "LOG", "INPUT ", "ACCEPT", "[1:2] ",
        "COMMIT\n", "*filter\n", ":INPUT ACCEPT [0:0]\n", ":LOG - \n", "-m comment --comment ", '"a b" ',
        "é", "\xff", "-h\n", "-6\n", "-P INPUT DROP\n", "-N X\n", "-s 10.0.0.1,10.0.0.2 ", "*what\n",
    ]
)  # fmt: skip
BYTES = st.one_of(
    st.binary(max_size=200),
    st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode("utf-8")),
    st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode("latin-1")),
)


@functools.cache
def validator() -> Any:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def tree(data: bytes, family: int = 4) -> dict[str, Any]:
    """What is printed for some bytes, read again; it is valid."""
    text = "".join(render(api.parse(data, "test"), BINDERS[family]))
    found: dict[str, Any] = json.loads(text)
    validator().validate(found)
    return found


def run(*arguments: str, data: bytes = b"") -> tuple[int, bytes, str]:
    result = CliRunner().invoke(iptkit, ["parse", *arguments], input=data)
    return result.exit_code, result.stdout_bytes, result.stderr


@given(BYTES, st.sampled_from([4, 6]))
@settings(deadline=None)
@example(b"", 4)
@example(b"COMMIT", 4)
@example(b"\n", 4)
@example("-A INPUT é".encode() + b"x" * LINE_LIMIT + "é\n".encode() * 3, 4)
@example(b"-A INPUT " + b"x" * (LINE_LIMIT - 10) + "é\n".encode(), 4)  # cut within a character
@example(b"-A INPUT -c 1 " + b"9" * 5000 + b"\n[" + b"9" * 5000 + b":1] -A INPUT\n", 4)
def test_any_bytes_come_back(data: bytes, family: int) -> None:
    found = tree(data, family)
    assert text_of(found) == data
    assert found["final_newline"] is data.endswith(b"\n")
    for line in found["lines"]:
        # What cannot be read says why.
        if line["kind"] == "rule" and line["rule"] is None:
            assert line.get("skipped") or line.get("diagnostics"), line


@pytest.mark.skipif(not FILES, reason="the shared corpus is not on this machine")
@pytest.mark.parametrize("path", FILES[::7], ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    data = path.read_bytes()
    assert text_of(tree(data, 6 if ".v6." in path.name else 4)) == data


def test_pieces_are_the_document() -> None:
    document = api.parse("*filter\n:INPUT DROP [1:2]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n")
    assert json.loads("".join(render(document, Binder()))) == document_of(document, Binder())


TEXT = """# a comment

*filter
:INPUT ACCEPT [5:600]
:web - [0:0]
[7:800] -A INPUT ! -s 10.0.0.1/8,192.0.2.1 -i lo -p tcp --dport 22 -m comment --comment "it's ü" -j web
-I INPUT 1 -j LOG --log-prefix x
-D web 3
-P INPUT DROP
-A INPUT --dport 80 -j ACCEPT
-A INPUT -g web
-A web
COMMIT
"""


def test_lines() -> None:
    found = tree(TEXT.encode())
    assert (found["schema"], found["name"], found["family"]) == ("iptkit-ast/1", "test", 4)
    assert (found["encoding"], found["final_newline"]) == ("utf-8", True)
    lines = found["lines"]
    assert [line["number"] for line in lines] == list(range(1, 14))
    assert lines[0] == {"kind": "comment", "number": 1, "raw": "# a comment"}
    assert lines[1] == {"kind": "blank", "number": 2, "raw": ""}
    assert lines[2] == {"kind": "table", "number": 3, "raw": "*filter", "name": "filter"}
    assert lines[3] == {
        "kind": "chain",
        "number": 4,
        "raw": ":INPUT ACCEPT [5:600]",
        "name": "INPUT",
        "policy": "ACCEPT",
        "counters": {"packets": 5, "bytes": 600},
    }
    assert lines[12] == {"kind": "commit", "number": 13, "raw": "COMMIT"}


def test_rules() -> None:
    lines = tree(TEXT.encode())["lines"]
    assert lines[5]["counters"] == {"packets": 7, "bytes": 800}
    assert lines[5]["words"][-4:] == ["--comment", "it's ü", "-j", "web"]
    assert lines[5]["rule"] == {
        "command": "-A",
        "chain": "INPUT",
        "conditions": [
            {"option": "-s", "inverted": True, "value": "10.0.0.0/8,192.0.2.1/32"},
            {"option": "-i", "inverted": False, "value": "lo"},
            {"option": "-p", "inverted": False, "value": "tcp"},
        ],
        "matches": [
            {
                "name": "tcp",
                "implicit": True,
                "options": [{"option": "--dport", "inverted": False, "value": "22"}],
            },
            {
                "name": "comment",
                "implicit": False,
                "options": [{"option": "--comment", "inverted": False, "value": '"it\\\'s ü"'}],
            },
        ],
        "target": {"kind": "chain", "name": "web"},
        "goto": False,
    }
    # ! before a list of addresses is refused when the rule is added; it can be read.
    assert [finding["code"] for finding in lines[5]["diagnostics"]] == ["IPT138"]
    assert lines[6]["rule"]["position"] == 1
    assert lines[6]["rule"]["target"] == {
        "kind": "target",
        "name": "LOG",
        "options": [{"option": "--log-prefix", "inverted": False, "value": "x"}],
    }
    assert lines[7]["rule"] == {"command": "-D", "chain": "web", "position": 3}
    assert lines[8]["rule"] == {"command": "-P", "chain": "INPUT", "argument": "DROP"}
    assert lines[9]["rule"] is None
    assert lines[9]["diagnostics"][0]["code"] == "IPT120"
    assert lines[10]["rule"]["goto"] is True
    assert lines[11]["rule"]["target"] is None


def test_a_chain_hides_a_target() -> None:
    text = (
        b"*filter\n-A INPUT -j LOG\n:LOG - [0:0]\n-A INPUT -j LOG\nCOMMIT\n*nat\n-A OUTPUT -j LOG\nCOMMIT\n"
    )
    kinds = [line["rule"]["target"]["kind"] for line in tree(text)["lines"] if line["kind"] == "rule"]
    assert kinds == ["target", "chain", "target"]


def test_a_file_that_is_not_utf8() -> None:
    found = tree(b"*filter\n-A INPUT -m comment --comment \xff\xe9 -j ACCEPT\nCOMMIT\n")
    assert found["encoding"] == "latin-1"
    assert found["lines"][1]["words"][5] == "\xff\xe9"


@pytest.mark.parametrize("name", cases.files())
def test_values_are_those_of_iptables_save(name: str) -> None:
    """Put together again, what the tree says of a rule is what iptables-save prints."""
    for case in cases.read(name):
        if case.verdict not in ("ok", "kernel"):
            continue
        outcome = api.interpret(api.parse(case.text(case.rule)), case.family)
        if outcome.status:
            continue
        found = tree(case.text(case.rule).encode("latin-1"), case.family)
        (line,) = (line for line in found["lines"] if line["kind"] == "rule")
        text = said(line["rule"]).encode(found["encoding"]).decode("latin-1")
        assert text == case.line(case.saved), case.where


def said(rule: dict[str, Any]) -> str:
    words = [rule["command"], rule["chain"], *options(rule["conditions"])]
    for match in rule["matches"]:
        words += ["-m", match["name"], *options(match["options"])]
    target = rule["target"]
    if target is not None:
        words += ["-g" if rule["goto"] else "-j", target["name"], *options(target.get("options", []))]
    return " ".join(words)


def options(given: list[dict[str, Any]]) -> list[str]:
    out = []
    for each in given:
        out += ["!"] * each["inverted"] + [each["option"]] + [each["value"]] * (each["value"] is not None)
    return out


# -- the command


def test_text_is_the_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3
    path = tmp_path / "x"
    path.write_bytes(data)
    assert run("--format", "text", str(path)) == (0, data, "")
    assert run("--format", "text", data=data) == (0, data, "")


def test_json_is_the_default() -> None:
    status, out, _ = run("-6", data=b"*filter\n-A INPUT -s ::1 -j ACCEPT\nCOMMIT\n")
    found = json.loads(out)
    assert status == 0
    assert found["name"] == "<stdin>"
    assert found["lines"][1]["rule"]["conditions"][0]["value"] == "::1/128"
    assert run("--format", "json", "-6", data=b"*filter\n-A INPUT -s ::1 -j ACCEPT\nCOMMIT\n")[1] == out


def test_rules_that_cannot_be_read_are_no_failure() -> None:
    assert run(data=b"*filter\nwhat\n")[0] == 0


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    status, out, error = run(str(tmp_path / "none"))
    assert (status, out) == (2, b"")
    assert "No such file" in error


def test_schema() -> None:
    status, out, _ = run("--schema")
    assert status == 0
    assert json.loads(out) == json.loads(schema_text())
