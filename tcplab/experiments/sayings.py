"""What the common clients print for an errno, in their own words.

Seen with psql 15.18 and MariaDB's client 10.11, and read in the sources: libpq
(src/interfaces/libpq/fe-secure.c:pqsecure_raw_read, pqsecure_raw_write), MySQL
(sql-common/client.cc:cli_safe_read), pgjdbc (core/v3/QueryExecutorImpl.java:execute).
"""

from __future__ import annotations

#: What a call gives when the peer has finished properly: no errno at all.
END_OF_FILE = "end of file"
_ENDED = "server closed the connection unexpectedly"
#: psql, and so libpq, by the errno of the call that failed.
PSQL = {
    END_OF_FILE: _ENDED,
    "ECONNRESET": _ENDED,
    "EPIPE": _ENDED,
    "ETIMEDOUT": "could not receive data from server: Connection timed out",
}
_OTHERS = (
    "the MySQL client: ERROR 2013 (HY000): Lost connection to MySQL server during query; "
    "pgjdbc: An I/O error occurred while sending to the backend"
)


def says(error: str) -> str:
    """How a client tells its user of an errno or an end of file; an errno alone where none is known to."""
    return (
        f"psql says: {PSQL[error]} ({error}); {_OTHERS}" if error in PSQL else f"its next call says {error}"
    )
