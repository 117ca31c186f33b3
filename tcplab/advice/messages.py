"""What a product prints when a connection is gone, by the errno that its call gets.

Checked as `tcplab/lesson/symptoms.toml` and `tcplab/experiments/sayings.py` say; where a product's
words are not known, the errno stands alone.
"""

from __future__ import annotations

from tcplab.experiments.sayings import END_OF_FILE, PSQL

#: A driver's own timer is over: no errno.
READ_TIMEOUT = "read timeout"

_ANY = "*"
_PRINTED: dict[str, dict[str, str]] = {
    "libpq": PSQL,
    # core/v3/QueryExecutorImpl.java:execute, for every IOException, a timeout of its own too
    "pgjdbc": {_ANY: "An I/O error occurred while sending to the backend."},
    "connector_j": {_ANY: "Communications link failure"},
    "jedis": {END_OF_FILE: "Unexpected end of stream."},
    "lettuce": {READ_TIMEOUT: "Command timed out after …"},
    "oracle": {
        END_OF_FILE: "ORA-03113: end-of-file on communication channel",
        "ETIMEDOUT": "TNS-12535: TNS:operation timed out … nt secondary err code: 110",
    },
    "pgbouncer": {_ANY: "server conn crashed?"},
}
#: The database's log, about a client that is gone.
_LOGGED = {"postgresql": {"ETIMEDOUT": "could not receive data from client: Connection timed out"}}
_ERRNO = {
    "ETIMEDOUT": "Connection timed out",
    "ECONNRESET": "Connection reset by peer",
    "EPIPE": "Broken pipe",
    END_OF_FILE: "end of file",
    READ_TIMEOUT: "read timed out",
}
#: Too many connections. PostgreSQL's and PgBouncer's, and the next: seen with 15.18 and 1.18.
FULL = {
    "postgresql": "FATAL: sorry, too many clients already",
    "mysql": "ERROR 1040 (HY000): Too many connections",
    "mariadb": "ERROR 1040 (HY000): Too many connections",
    "redis": "ERR max number of clients reached",
    "pgbouncer": "FATAL: no more connections allowed (max_client_conn)",
}
#: PgBouncer, of a query that runs longer than query_timeout.
QUERY_TIMEOUT = "FATAL: query timeout"
#: No local port is free.
NO_PORT = {
    "connector_j": "Cannot assign requested address (99)",
    "libpq": "Cannot assign requested address",
}
TESTED_DEAD = "Failed to validate connection … Possibly consider using a shorter maxLifetime value."


def printed(product: str, error: str) -> str:
    """How a client's product tells of an error."""
    words = _PRINTED.get(product, {})
    return words.get(error) or words.get(_ANY) or _ERRNO.get(error, error)


def logged(product: str, error: str) -> str:
    """How a server's log tells of it."""
    return _LOGGED.get(product, {}).get(error, f"a log that says {_ERRNO.get(error, error)}, or nothing")


def waited_for_pool(pool: str, acquire_s: float) -> str:
    """What a pool prints when a borrower has waited for too long."""
    if pool == "hikaricp":
        return f"Connection is not available, request timed out after {acquire_s * 1000:.0f}ms"
    return {"jedis": "Could not get a resource from the pool"}.get(pool, "the pool's own timeout")
