"""The lesson kit: predictions with check, hint and solution; what the article says; which lesson do I need?

It imports nothing of tcplab but `core`, and needs ipywidgets only where something is displayed.
"""

from tcplab.lesson.course import hand_in
from tcplab.lesson.question import Feedback, after, ask, predict_choice, predict_number, reveal, start_again
from tcplab.lesson.quiz import projector, quiz
from tcplab.lesson.tables import Shown, article_says, borrowed, chart, provenance

__all__ = [
    "Feedback", "Shown", "after", "article_says", "ask", "borrowed", "chart", "hand_in",
    "predict_choice", "predict_number", "projector", "provenance", "quiz", "reveal",
    "start_again",
]  # fmt: skip
