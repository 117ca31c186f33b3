"""The lesson kit: predictions with check, hint and solution; what the article says; which lesson do I need?

It imports nothing of tcplab but `core`, and needs ipywidgets only where something is displayed.
"""

from tcplab.lesson.course import found, hand_in
from tcplab.lesson.question import Feedback, after, ask, predict_choice, predict_number, reveal, start_again
from tcplab.lesson.quiz import projector, quiz
from tcplab.lesson.tables import Shown, article_says, as_table, borrowed, chart, provenance, side_by_side

__all__ = [
    "Feedback", "Shown", "after", "article_says", "as_table", "ask", "borrowed", "chart", "found", "hand_in",
    "predict_choice", "predict_number", "projector", "provenance", "quiz", "reveal", "side_by_side",
    "start_again",
]  # fmt: skip
