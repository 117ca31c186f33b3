"""Many connections at once: the registry of all studies."""

from __future__ import annotations

from tcplab.fleet.churn import PortChurn
from tcplab.fleet.failover import Failover
from tcplab.fleet.pool import Pool
from tcplab.fleet.study import Study

#: Every study by the name that notebooks and the command line use.
STUDIES: dict[str, type[Study]] = {each.name: each for each in (PortChurn, Pool, Failover)}
