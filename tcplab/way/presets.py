"""Worked topologies to begin with, and the boxes of the catalogue by the names that people know."""

from __future__ import annotations

from functools import lru_cache

from tcplab.advice import Box, Environment, Leg
from tcplab.catalogue import find

#: Simultaneous connections of one address of AWS's NAT gateway to one destination.
#: AWS VPC User Guide: "NAT gateway basics".
_NAT_GATEWAY_PORTS = 55_000
#: Cisco ASA Series CLI Configuration Guide: "Configure Global Timeouts", timeout conn 1:0:0, no reset.
_ASA_IDLE_S = 3600
#: What an undocumented box is taken to do.
_MOSTLY = "drop"
#: Shorter names than the catalogue's.
_SHORT = {
    "aws_nlb": "AWS NLB", "ec2_connection_tracking": "EC2 connection tracking", "ipvs": "Linux IPVS",
    "conntrack": "Linux conntrack",
}  # fmt: skip
#: Boxes that look at something else than segments.
_KINDS = {"rds_proxy": "requests"}


@lru_cache(maxsize=1)
def known_boxes() -> dict[str, Box]:
    """Boxes as they come, by name: idle time, and what they do afterwards, as the catalogue has it."""
    found = {}
    for each in dict.fromkeys(setting.product for setting in find(kind="box")):
        # conntrack has a shorter one for data that nobody acknowledges.
        idle = max(find(product=each.key, purpose="idle"), key=lambda setting: setting.seconds or 0)
        ports = _NAT_GATEWAY_PORTS if each.key == "aws_nat_gateway" else 0
        name = _SHORT.get(each.key, each.title)
        found[name] = Box(
            name, idle.seconds or 0, _KINDS.get(each.key, "layer4"), idle.expiry or _MOSTLY, ports=ports
        )
    asa = Box("Cisco ASA firewall", _ASA_IDLE_S)
    return dict(sorted((found | {asa.name: asa}).items(), key=lambda item: item[0].lower()))


_BOX = known_boxes()
#: By name; every one is a whole environment.
PRESETS: dict[str, Environment] = {
    "keepalive 300 before a box of 350": Environment(
        database="postgresql", driver="libpq",
        legs=(Leg("application to PostgreSQL", (_BOX["AWS Network Firewall"],)),),
        longest_silent_query_s=1800, longest_idle_s=3600, lost_probes=1, notice_within_s=1200,
        settings={"linux.net.ipv4.tcp_keepalive_time": 300},
    ),
    "AWS: NLB, PgBouncer, RDS": Environment(
        database="postgresql", driver="pgjdbc", pool="hikaricp", proxies=("pgbouncer",),
        legs=(
            Leg("application to PgBouncer", (_BOX["AWS NLB"],)),
            Leg("PgBouncer to PostgreSQL", (_BOX["EC2 connection tracking"],)),
        ),
        longest_silent_query_s=900, longest_idle_s=3600, instances=8, pool_size=10, connects_per_s=2,
        outage_s=60,
        settings={"pgbouncer.max_client_conn": 500, "postgresql.max_connections": 400},
    ),
    "On-prem: firewall, Oracle": Environment(
        database="oracle", driver="oracle",
        legs=(Leg("application to Oracle", (_BOX["Cisco ASA firewall"],)),),
        longest_silent_query_s=7200, longest_idle_s=14_400, instances=12, pool_size=20, max_connections=600,
        notice_within_s=900, outage_s=300,
        settings={"oracle.SQLNET.EXPIRE_TIME": 10},
    ),
    "Kubernetes: NAT gateway, MySQL": Environment(
        database="mysql", driver="connector_j", pool="hikaricp",
        legs=(Leg("application to MySQL", (_BOX["AWS NAT gateway"],)),),
        longest_silent_query_s=600, longest_idle_s=1800, instances=40, pool_size=10, connects_per_s=5,
        outage_s=60,
        settings={"mysql.max_connections": 1000, "mysql.back_log": 500},
    ),
}  # fmt: skip
