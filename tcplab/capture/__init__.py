"""Captures: writing a trace as a pcap file, and reading one as traces.

scapy is imported where a file is written or read, not when these modules are.
"""


class CaptureError(ValueError):
    """A file that can't be read or written as a capture: one sentence with its name and why."""
