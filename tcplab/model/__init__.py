"""Linux TCP as pure code: no clock, no input or output; `now` is always an argument.

A `Stack` is one machine. It takes segments, calls and the passing of time, and says what it
wants to send and when it wants to be asked again. Everything is in integer nanoseconds.
"""
