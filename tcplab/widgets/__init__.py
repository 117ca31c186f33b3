"""What a notebook shows and lets a learner turn: one shell, and the widgets built on it."""
