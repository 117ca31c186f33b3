"""What a pasted console means: `ss`, `netstat`, `nstat`, `sysctl`, sessions of a database, logs.

    >>> from tcplab.console import explain
    >>> explain("LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*").verdicts[0].code
    'listen_queue_full'

`clean` removes prompts, quotes and colours; `sockets`, `tables` and `values` each read one kind of line;
`paste` sorts what they read by host and snapshot. `connections`, `sessions` and `counters` compare it with
thresholds; `verdicts` ranks what they find and words it with the texts of codes.toml.
"""

from tcplab.console.verdicts import explain as explain
