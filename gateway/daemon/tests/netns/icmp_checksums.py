"""Checks every checksum of ICMP errors with scapy, which has never heard of the gateway.

Reads a packet a line, IPv4 in hexadecimal, and writes a line for each: the checksums that it has, those that are wrong
with an exclamation mark. The transport's is checked where the error holds the whole packet that it is about.
"""

import sys

from scapy.layers.inet import IP, in4_chksum
from scapy.utils import checksum

TRANSPORTS = {1: "icmp", 6: "tcp", 17: "udp"}


def sums(packet):
    outer = IP(packet)
    yield "ip", checksum(packet[: outer.ihl * 4])
    error = packet[outer.ihl * 4 : outer.len]
    yield "icmp", checksum(error)
    about = error[8:]
    length = error[5] * 4  # RFC 4884 section 4: of the packet that the error is about, 0 without extensions
    if length:
        yield "extension", checksum(about[length:])
        about = about[:length]
    inner = IP(about)
    header = inner.ihl * 4
    yield "embedded ip", checksum(about[:header])
    if len(about) >= inner.len:
        segment = about[header : inner.len]
        name = TRANSPORTS[inner.proto]
        yield f"embedded {name}", checksum(segment) if name == "icmp" else in4_chksum(inner.proto, inner, segment)


for line in sys.stdin:
    print(", ".join(name if total == 0 else f"!{name}" for name, total in sums(bytes.fromhex(line))))
