"""ns-3 as the peer of ``benchmarks/model.py``: short TCP connections, one after the other.

    python benchmarks/ns3_peer.py [CONNECTIONS]

Two hosts share a 10 Gbit/s link with 1 ms of delay each way. Every connection opens, carries
4096 bytes from client to server and is closed by both ends. Ten packets cross the link:

    client  SYN, ACK, 3 data (the last one carries the FIN), ACK of the server's FIN    6
    server  SYN-ACK, 2 ACKs, FIN                                                        4

The result is one line of JSON on standard output; see README.md for its fields. ns-3's compiler
may write notes to standard error: they are harmless. Exit status 1 and one sentence on standard
error mean that there is no result.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

BYTES = 4096
PACKETS = (6, 4)  # per connection, sent by client and server: the table above
PORT = 5432
MSS = 1448  # bytes: a 1500-byte MTU with TCP timestamps; ns-3's own default is 536
MSL_S = 30  # half of Linux's TIME_WAIT; ns-3's own default is 120
# ns-3 looks for a packet's socket in a list. A second between two starts keeps that list at about
# 60 sockets in TIME_WAIT, however many connections there are: the kindest spacing for ns-3, and
# virtual time costs nothing.
SPACING_S = 1


def load() -> Any:
    """Return ns-3's namespace, or leave with the sentence that says what is missing."""
    try:
        from ns import ns
    except ModuleNotFoundError as error:
        if error.name != "ns":
            sys.exit(f"ns-3 is installed but cannot be loaded: the module {error.name} is missing.")
        sys.exit("This benchmark needs ns-3: pip install ns3 (about 500 MB; see benchmarks/README.md).")
    except Exception as error:  # its loader raises plain Exception when a library is missing
        reason = " ".join(str(error).split())
        sys.exit(f"ns-3 is installed but cannot be loaded: {reason}")
    return ns


def simulate(ns: Any, connections: int) -> tuple[float, int]:
    """Run that many connections; return the wall seconds and the packets sent.

    Timed: creating the applications and ``Simulator.Run()``, which ends when the last TIME_WAIT
    does. Leaves with a sentence unless every connection was completed and closed by both ends.
    """
    ns.Config.SetDefault("ns3::TcpSocket::SegmentSize", ns.UintegerValue(MSS))
    ns.Config.SetDefault("ns3::TcpSocketBase::MaxSegLifetime", ns.DoubleValue(MSL_S))
    nodes = ns.NodeContainer()
    nodes.Create(2)
    client, server = nodes.Get(0), nodes.Get(1)
    link = ns.PointToPointHelper()
    link.SetDeviceAttribute("DataRate", ns.StringValue("10Gbps"))
    link.SetChannelAttribute("Delay", ns.StringValue("1ms"))
    devices = link.Install(nodes)
    ns.InternetStackHelper().Install(nodes)
    addresses = ns.Ipv4AddressHelper()
    addresses.SetBase(ns.Ipv4Address("10.0.0.0"), ns.Ipv4Mask("255.255.255.0"))
    interfaces = addresses.Assign(devices)
    # Assign() adds a queue discipline that has nothing to do on an idle link but costs time.
    ns.TrafficControlHelper().Uninstall(devices)

    started = time.perf_counter()
    address = ns.InetSocketAddress(interfaces.GetAddress(1), PORT).ConvertTo()
    sinks = ns.PacketSinkHelper("ns3::TcpSocketFactory", address).Install(server)
    sender = ns.BulkSendHelper("ns3::TcpSocketFactory", address)
    sender.SetAttribute("MaxBytes", ns.UintegerValue(BYTES))
    sender.SetAttribute("SendSize", ns.UintegerValue(BYTES))  # one write, as an application does
    for number in range(connections):
        sender.Install(client).Start(ns.Seconds(number * SPACING_S))
    ns.Simulator.Run()
    seconds = time.perf_counter() - started

    sink = sinks.Get(0).GetObject[ns.PacketSink]()
    sent = [devices.Get(end).GetQueue().GetTotalReceivedPackets() for end in (0, 1)]
    # (what, seen, right). The client's sixth packet acknowledges the server's FIN, so the packet
    # counts rule out a reset; the sockets that are left rule out one that is still closing.
    for what, seen, right in (
        ("connections accepted", len(sink.GetAcceptedSockets()), connections),
        ("bytes received", sink.GetTotalRx(), connections * BYTES),
        ("packets sent by the client", sent[0], connections * PACKETS[0]),
        ("packets sent by the server", sent[1], connections * PACKETS[1]),
        ("sockets left on the client", sockets(ns, client), 0),
        ("sockets left on the server (its listener)", sockets(ns, server), 1),
    ):
        if seen != right:
            sys.exit(f"ns-3 did not complete all {connections} connections: {what}: {seen}, not {right}.")
    ns.Simulator.Destroy()
    ns.Ipv4AddressGenerator.Reset()  # else the next run could not use the same addresses
    return seconds, sum(sent)


def sockets(ns: Any, node: Any) -> int:
    """Return how many TCP sockets the node holds, in any state but CLOSED."""
    held = ns.ObjectMapValue()
    node.GetObject[ns.TcpL4Protocol]().GetAttribute("SocketList", held)
    return held.GetN()


def main(arguments: list[str]) -> None:
    """Print the result for the number of connections given (default 1000)."""
    text = arguments[0] if arguments else "1000"
    if len(arguments) > 1 or not (text.isascii() and text.isdigit() and int(text) > 0):
        given = " ".join(arguments)
        sys.exit(f"CONNECTIONS must be one whole number from 1 up, such as 1000, not {given!r}.")
    connections = int(text)
    started = time.perf_counter()
    ns = load()
    import_s = time.perf_counter() - started
    # The bindings compile a call when it is first made, and even after that the first run of a size
    # takes about half as long again as the next: ns-3 is judged by the next.
    simulate(ns, connections)
    seconds, packets = simulate(ns, connections)
    result = {
        "connections": connections,
        "seconds": round(seconds, 6),
        "import_s": round(import_s, 3),
        "packets": packets,
        "ns3": metadata.version("ns3"),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
