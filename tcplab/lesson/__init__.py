"""The lesson kit: predict, check, hint, solution; what the article says; which lesson do I need?

It knows nothing of the rest of tcplab, and needs ipywidgets only where something is shown.
"""

from tcplab.lesson.after import after, reveal
from tcplab.lesson.again import start_again
from tcplab.lesson.article import article_says
from tcplab.lesson.ask import ask
from tcplab.lesson.borrowed import borrowed
from tcplab.lesson.chart import chart
from tcplab.lesson.feedback import Feedback
from tcplab.lesson.found import found
from tcplab.lesson.projector import projector
from tcplab.lesson.provenance import provenance
from tcplab.lesson.question import predict_choice, predict_number
from tcplab.lesson.quiz import quiz
from tcplab.lesson.rows import as_table, side_by_side
from tcplab.lesson.text import Shown

__all__ = [
    "Feedback",
    "Shown",
    "after",
    "article_says",
    "as_table",
    "ask",
    "borrowed",
    "chart",
    "found",
    "predict_choice",
    "predict_number",
    "projector",
    "provenance",
    "quiz",
    "reveal",
    "side_by_side",
    "start_again",
]
