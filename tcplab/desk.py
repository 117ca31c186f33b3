"""The clinic's desk with all that belongs to it: one call in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcplab.view.clinic import Clinic


def clinic(path: str = "") -> Clinic:
    """A place to drop a capture file on, and what it shows: for the last line of a cell.

    `path` is read at once. The file is read by the notebook kernel and goes nowhere else. What is wrong with
    it is said in one sentence.
    """
    from tcplab.counterfactual import what_if
    from tcplab.view.clinic import Clinic

    return Clinic(path, what_if)
