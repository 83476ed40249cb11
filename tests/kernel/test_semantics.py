"""What matches answer, held against a kernel: random uses of them, random packets, counters compared.

Packets come out of a tun device and meet the rules in the table raw, before
routing and connection tracking.
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iptkit import api
from iptkit.extensions.sets import read_sets, save_sets
from iptkit.extensions.spec import Match
from iptkit.extensions.world import CountedDrop, HotDrop
from iptkit.values.packet import Packet
from tests.extensions import traffic
from tests.extensions.stub import World

if TYPE_CHECKING:
    from iptkit.values.context import Family
    from tests.kernel.conftest import Netns

pytestmark = pytest.mark.kernel

RULES, PACKETS = 300, 200
Counts = dict[int, tuple[int, int]]

# Runs in the namespace: packets in hexadecimal, a line each, go out of a tun device.
INJECT = """
import fcntl, os, struct, subprocess, sys
device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
for line in sys.stdin:
    os.write(device, bytes.fromhex(line))
"""


def expected(text: str, family: Family, packets: list[bytes], world: Any) -> Counts:
    """Packets and bytes that each rule counts."""
    rules = api.load(text, family).tables["raw"].chains["PREROUTING"].rules
    counts = dict.fromkeys(range(len(rules)), (0, 0))
    for data in packets:
        packet = Packet(data)
        packet.in_interface, packet.link_type = "tun0", "unicast"
        for number, rule in enumerate(rules):
            try:
                if not rule.conditions.matches(packet):
                    continue
                met = True
                for place, match in enumerate(rule.matches):
                    assert isinstance(match, Match)
                    world.place = (number, place)
                    answer = match.matches(packet, world)
                    assert answer is not None, f"{match} does not know"
                    if not answer:
                        met = False
                        break
            except CountedDrop:
                counts[number] = counts[number][0] + 1, counts[number][1] + packet.length
                break
            except HotDrop:
                break
            if met:
                counts[number] = counts[number][0] + 1, counts[number][1] + packet.length
    return counts


def observed(netns: Netns, text: str, family: Family, packets: list[bytes]) -> Counts:
    tool = "iptables-legacy" if family == 4 else "ip6tables-legacy"
    netns.run(f"{tool}-restore", text=text)
    netns.run(sys.executable, "-c", INJECT, text="".join(f"{data.hex()}\n" for data in packets))
    saved = netns.run(f"{tool}-save", "-c", "-t", "raw").stdout.decode("latin-1")
    found = re.findall(r"^\[(\d+):(\d+)\] -A PREROUTING", saved, re.M)
    return {number: (int(count), int(size)) for number, (count, size) in enumerate(found)}


def compare(netns: Netns, family: Family, rules: list[str], packets: list[bytes], world: World) -> None:
    netns.need("iptables-legacy-restore", "ip6tables-legacy-restore")
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    lines = "".join(f"-A PREROUTING {rule}\n" for rule in rules)
    text = f"*raw\n:PREROUTING DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{lines}COMMIT\n"
    mine = expected(text, family, packets, world)
    kernel = observed(netns, text, family, packets)
    wrong = {
        rules[number]: (mine[number], kernel[number]) for number in mine if mine[number] != kernel[number]
    }
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(4))
def test_random_uses(netns: Netns, family: Family, seed: int) -> None:
    chance = random.Random(f"{family} {seed}")  # noqa: S311  # test data
    names = traffic.names(family)
    rules = [traffic.use(chance, family, chance.choice(names)) for _ in range(RULES)]
    compare(netns, family, rules, traffic.packets(chance, family, PACKETS), World(family))


@pytest.mark.parametrize("family", [4, 6])
def test_sets(netns: Netns, family: Family) -> None:
    netns.need("ipset")
    text = traffic.sets(family)
    netns.run("ipset", "restore", text=text)
    world = World(family)
    world.sets = read_sets(text, world.now)
    assert saved_sets(netns) == sorted(save_sets(world.sets, world.now).splitlines())
    chance = random.Random(f"sets {family}")  # noqa: S311  # test data
    rules = [traffic.set_use(chance, family) for _ in range(RULES)]
    compare(netns, family, rules, traffic.packets(chance, family, PACKETS), world)
    assert saved_sets(netns) == sorted(save_sets(world.sets, world.now).splitlines())


def saved_sets(netns: Netns) -> list[str]:
    """The lines of a save, sorted, without the numbers the kernel chooses."""
    saved = netns.run("ipset", "save").stdout.decode()
    return sorted(re.sub(r" (?:bucketsize|initval) \S+", "", saved).splitlines())
