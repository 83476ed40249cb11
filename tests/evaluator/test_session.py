from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.evaluator.packetline import parse_packet, words_of
from iptkit.evaluator.session import TooManyOutcomes, clone
from iptkit.evaluator.wire import BadField

if TYPE_CHECKING:
    from iptkit.evaluator.session import Outcome, Session

SOURCES = {"client": "in0", "server": "out0", "firewall": ""}


def session(rules: str, **options: object) -> Session:
    text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" + rules + "COMMIT\n"
    return api.packet_session(api.load(text), now=1000.0, **options)  # type: ignore[arg-type]  # passed through


def send(to: Session, text: str) -> list[Outcome]:
    return to.send(parse_packet(words_of(text), 4, SOURCES))


def verdicts(found: list[Outcome]) -> list[str]:
    return sorted(each.what.record["verdict"] for each in found)


def test_goes_both_ways_where_a_match_cannot_tell() -> None:
    here = session("-A OUTPUT -m owner --uid-owner 5 -j DROP\n")
    found = send(here, "firewall udp 10.0.2.1:1 > 10.0.2.2:2")
    assert verdicts(found) == ["DROP", "OUTPUT"]
    assert {each.conditions[0].answer for each in found} == {True, False}
    assert verdicts(send(here, "firewall udp 10.0.2.1:1 > 10.0.2.2:2 uid=5")) == ["DROP", "DROP"]
    # The connection is there where the first packet got through, and only there.
    found = send(here, "server udp 10.0.2.2:2 > 10.0.2.1:1")
    states = sorted(each["state"] for outcome in found for each in outcome.what.record["ct"])
    assert states == ["ESTABLISHED", "NEW"]


def test_one_outcome_where_all_is_said() -> None:
    here = session("-A OUTPUT -m owner --uid-owner 5 -j DROP\n")
    assert verdicts(send(here, "firewall udp 10.0.2.1:1 > 10.0.2.2:2 uid=6")) == ["OUTPUT"]


def test_worlds_that_are_the_same_become_one() -> None:
    here = session("-A FORWARD -m mac --mac-source 02:00:00:00:00:01\n-A FORWARD -m cpu --cpu 1 -j ACCEPT\n")
    for port in range(8):
        send(here, f"client udp 10.0.1.2:{port} > 10.0.2.2:2 mac=02:00:00:00:00:02")
    assert len(here.worlds) <= 16


def test_gives_up_on_too_much() -> None:
    here = session("".join(f"-A OUTPUT -m owner --uid-owner {uid}\n" for uid in range(9)))
    with pytest.raises(TooManyOutcomes, match="more than 64"):
        send(here, "firewall udp 10.0.2.1:1 > 10.0.2.2:2")


def test_a_target_nobody_knows_makes_the_verdict_unknown() -> None:
    here = session("-A FORWARD -j NFQUEUE --queue-num 3\n")
    (found,) = send(here, "client udp 10.0.1.2:1 > 10.0.2.2:2")
    assert found.what.record["verdict"] == "UNKNOWN"
    assert "queue 3" in found.what.record["unknown"]


def test_a_copy_goes_its_own_way() -> None:
    here = session(
        "-A FORWARD -p udp -m limit --limit 1/hour --limit-burst 1 -j ACCEPT\n-A FORWARD -j DROP\n"
    )
    machine = here.worlds[0].machine
    send(here, "client udp 10.0.1.2:1 > 10.0.2.2:2")
    copy = clone(machine)
    before = copy.snapshot_counters()
    assert before == machine.snapshot_counters()
    assert len(list(copy.tracker.entries(1000.0))) == 1
    send(here, "client udp 10.0.1.2:2 > 10.0.2.2:2")
    assert copy.snapshot_counters() == before
    assert machine.snapshot_counters() != before
    assert copy.translator.tracker is copy.tracker
    assert copy.topology is machine.topology


def test_starts_from_connections() -> None:
    line = (
        "udp      17 20 src=10.0.1.2 dst=10.0.2.2 sport=1 dport=2 [UNREPLIED]"
        " src=10.0.2.2 dst=10.0.1.2 sport=2 dport=1 mark=0 use=1"
    )
    here = session("-A FORWARD -m conntrack --ctstate NEW -j DROP\n", connections=[line])
    assert verdicts(send(here, "server udp 10.0.2.2:2 > 10.0.1.2:1")) == ["FORWARD"]
    here.wait_until(here.now + 60)
    assert verdicts(send(here, "server udp 10.0.2.2:2 > 10.0.1.2:1")) == ["DROP"]


def test_names_what_makes_no_sense() -> None:
    with pytest.raises(BadField, match=r"^conntrack: line 1: "):
        session("", connections=["nonsense"])
    with pytest.raises(BadField, match=r"^sysctl: net.ipv4.nosuch "):
        session("", sysctls={"net.ipv4.nosuch": 1})
    with pytest.raises(BadField, match=r"^packet.ttl: 300 "):
        send(session(""), "client udp 10.0.1.2:1 > 10.0.2.2:2 ttl=300")


def test_tells_why_rules_do_not_match() -> None:
    here = session(
        "-A FORWARD -s 10.9.0.0/16 -p tcp -j DROP\n-A FORWARD -p udp -m udp --dport 9 -j DROP\n", why_not=True
    )
    (found,) = send(here, "client udp 10.0.1.2:1 > 10.0.2.2:2")
    assert [(key, what) for _, key, what in found.what.record["why_not"]] == [
        ("filter:FORWARD:1", "-s 10.9.0.0/16"),
        ("filter:FORWARD:2", "-m udp --dport 9"),
    ]
