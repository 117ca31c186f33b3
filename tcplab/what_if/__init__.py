"""A captured session replayed on the model under other settings: would it have survived?"""
