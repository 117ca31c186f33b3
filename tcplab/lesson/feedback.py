"""What a question answers: an outcome and sentences, for a notebook, a terminal and a test."""

from __future__ import annotations

from dataclasses import dataclass

from tcplab.lesson.text import box, to_html, to_plain

RIGHT, CLOSE, WRONG = "right", "close", "wrong"
NOT_ATTEMPTED, UNCLEAR = "not attempted", "unclear"
HINT, SOLUTION = "hint", "solution"

#: Outcome: symbol, heading and the colour of the edge. The word says it without the colour.
LOOKS = {
    RIGHT: ("✔", "Right", "#009E73"),
    CLOSE: ("≈", "Close", "#E69F00"),
    WRONG: ("✘", "Not so", "#D55E00"),
    NOT_ATTEMPTED: ("…", "Not attempted yet", "#888888"),
    UNCLEAR: ("?", "Not understood", "#888888"),
    HINT: ("→", "Hint", "#56B4E9"),
    SOLUTION: ("!", "Solution", "#0072B2"),
}


@dataclass(frozen=True)
class Feedback:
    """What `check()`, `hint()` and `solution()` return."""

    #: One of the words above.
    outcome: str
    #: Sentences, with `code` and **bold**.
    text: str

    @property
    def right(self) -> bool:
        """True when the prediction was right."""
        return self.outcome == RIGHT

    @property
    def attempted(self) -> bool:
        """True when there was a prediction that could be judged."""
        return self.outcome in (RIGHT, CLOSE, WRONG)

    def __repr__(self) -> str:
        symbol, heading, _ = LOOKS[self.outcome]
        return f"{symbol} {heading}. {to_plain(self.text)}"

    def _repr_html_(self) -> str:
        symbol, heading, colour = LOOKS[self.outcome]
        return box(f"<b>{symbol} {heading}.</b> {to_html(self.text)}", edge=colour, role="status")
