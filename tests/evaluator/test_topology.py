from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.evaluator.routing import Routing
from iptkit.evaluator.topology import Route, Topology, network, read_topology, two_networks
from iptkit.evaluator.wire import BadField

ADDRESSES = """[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"group":"default",
"address":"00:00:00:00:00:00","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},
{"family":"inet6","local":"::1","prefixlen":128}]},
{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP"],"mtu":1400,"group":"5",
"address":"02:00:00:00:00:07","addr_info":[
{"family":"inet","local":"192.0.2.1","prefixlen":24,"broadcast":"192.0.2.255"},
{"family":"inet","local":"192.0.2.9","prefixlen":24,"secondary":true},
{"family":"inet6","local":"2001:db8::1","prefixlen":64}]},{}]"""
ROUTES = """[{"dst":"default","gateway":"192.0.2.254","dev":"eth0"},
{"type":"unreachable","dst":"10.9.0.0/16"},{"dst":"10.8.0.0/16","dev":"eth0","prefsrc":"192.0.2.9"},
{"dst":"10.7.0.1","dev":"eth0","table":"local"}]
[{"dst":"default","gateway":"fe80::1","dev":"eth0","pref":"medium"},{"dst":"2001:db8:1::/48",
"nexthops":[{"gateway":"2001:db8::2","dev":"eth0"},{"gateway":"2001:db8::3","dev":"eth0"}]}]"""


def number(text: str) -> int:
    return network(text)[1]


def test_reads_what_iproute2_prints() -> None:
    topology = read_topology([("a", ADDRESSES), ("b", ROUTES)])
    eth0 = topology.interfaces["eth0"]
    assert (eth0.mtu, eth0.group, eth0.arp) == (1400, 5, True)
    four, six = Routing(topology, 4), Routing(topology, 6)
    kinds = {
        "192.0.2.1": "local",
        "192.0.2.7": "unicast",
        "192.0.2.255": "broadcast",
        "127.3.2.1": "local",
        "224.0.0.1": "multicast",
        "10.9.1.1": "unreachable",
        "8.8.8.8": "unicast",
    }
    assert {text: four.kind_of(number(text)) for text in kinds} == kinds
    route = four.lookup(number("8.8.8.8"))
    assert route is not None
    assert route.gateway == number("192.0.2.254")
    assert four.source_for(route, number("8.8.8.8")) == number("192.0.2.1")
    preferred = four.lookup(number("10.8.1.1"))
    assert preferred is not None
    assert four.source_for(preferred, number("10.8.1.1")) == number("192.0.2.9")
    several = six.lookup(number("2001:db8:1::5"))
    assert several is not None
    assert several.others == (("eth0", number("2001:db8::3")),)
    assert six.kind_of(number("2001:db8::")) == "anycast"


def test_ignores_down_interfaces() -> None:
    text = json.dumps(
        [{"ifname": "eth0", "flags": [], "addr_info": [], "mtu": 1500}, {"ifname": "e1", "flags": ["UP"]}]
    )
    assert read_topology([("a", text)]).interfaces["e1"].up


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("[{", "a:1:3", "no JSON"),
        ("{}", "a", "must be a list"),
        ('[{"name": 1}]', r"a\[0\]", "neither interface nor route"),
        ('[{"ifname": "e", "mtu": "x"}]', r"a\[0\].mtu", "whole number"),
        (
            '[{"ifname": "e", "addr_info": [{"family": "inet", "local": "1"}]}]',
            r"a\[0\].addr_info\[0\].local",
            "no IPv4",
        ),
        ('[{"ifname": "e"}, {"dst": "1.2.3"}]', r"a\[1\].dst", "no network"),
        ('[{"ifname": "e"}, {"dst": "1.2.3.4", "type": "unicats"}]', r"a\[1\].type", "did you mean"),
        ('[{"ifname": "e"}, {"dst": "default", "dev": "f"}]', "topology", "not among"),
        ('[{"dst": "default"}]', "topology", "no interface"),
    ],
)
def test_names_what_is_wrong(text: str, field: str, message: str) -> None:
    with pytest.raises(BadField, match=f"^{field}: .*{message}"):
        read_topology([("a", text)])


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_takes_the_longest_prefix(networks: list[tuple[int, int]], destination: int) -> None:
    routes = [
        Route(4, first >> (32 - length) << (32 - length), length, "in0", gateway=place)
        for place, (first, length) in enumerate(networks)
    ]
    routing = Routing(Topology(two_networks().interfaces.values(), routes), 4)
    found = routing.lookup(destination)
    fitting = [each for each in routes if not (each.network ^ destination) >> (32 - each.length)]
    if routing.kind_of(destination) in ("local", "broadcast", "multicast"):
        return
    longest = max((each.length for each in fitting), default=-1)
    if found is None:
        assert longest < 0
    else:
        assert found.length >= longest
