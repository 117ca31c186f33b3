"""The lesson kit: predict, check, hint, solution; what the article says; which lesson do I need?

It knows nothing of the rest of tcplab, and needs ipywidgets only where something is shown.
"""

from tcplab.lesson.after import after, reveal
from tcplab.lesson.article import article_says
from tcplab.lesson.feedback import Feedback
from tcplab.lesson.question import predict_choice, predict_number

__all__ = ["Feedback", "after", "article_says", "predict_choice", "predict_number", "reveal"]
