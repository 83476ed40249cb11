"""docs/state-machine.md and its drawings are what the code prints now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from iptkit.conntrack import sctp, tcp

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def test_the_document_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "script" / "state-machine"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "states"), [("tcp", tcp.STATES), ("sctp", sctp.STATES)])
def test_the_drawings_show_every_state(name: str, states: tuple[str, ...]) -> None:
    tree = ElementTree.parse(DOCS / f"{name}-states.svg")  # noqa: S314  # our own file
    shown = {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert set(states) <= shown
    assert f"{name}-states.svg" in (DOCS / "state-machine.md").read_text(encoding="utf-8")
