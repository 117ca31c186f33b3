"""Many connections at once: the registry of all studies."""

from __future__ import annotations

from tcplab.studies.churn import PortChurn
from tcplab.studies.failover import Failover
from tcplab.studies.pool import Pool
from tcplab.studies.study import Study

#: Every study by the name that notebooks and the command line use.
STUDIES: dict[str, type[Study]] = {each.name: each for each in (PortChurn, Pool, Failover)}
