"""What a pasted console means: `ss`, `netstat`, `nstat`, `sysctl`, sessions of a database, logs.

    >>> from tcplab.console import explain
    >>> explain("LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*").verdicts[0].code
    'listen_queue_full'

`clean` takes prompts, quotes and colours away; `sockets`, `tables` and `values` each read one kind of line;
`paste` sorts what they read by look and by host. `connections`, `sessions` and `counters` compare that with
the thresholds; `verdicts` ranks and words what they find, with the texts of codes.toml.
"""

from tcplab.console.verdicts import explain as explain
