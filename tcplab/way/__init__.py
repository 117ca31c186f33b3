"""The what-if desk: the way of one's own connections as a form; what breaks first, when, and what to paste.

>>> from tcplab.way import PRESETS
>>> PRESETS["keepalive 300 before a box of 350"].legs[0].boxes[0].idle_s
350.0
"""

from tcplab.way.presets import PRESETS

__all__ = ["PRESETS"]
