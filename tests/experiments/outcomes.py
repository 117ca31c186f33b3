"""Runs on the model, for tests that want only what came of them."""

from tcplab.bench import run


def trace_of(kind, **parameters):
    """The trace of a run, and the sentence it is told in."""
    experiment = kind(**parameters)
    trace = run(experiment)
    return trace, experiment.sentence(trace)


def outcome(kind, **parameters):
    """Only what came of it."""
    return trace_of(kind, **parameters)[0].outcome


def wire(trace, since=0):
    """Flags and lengths of what went over the wire from a moment on, `x` where it never arrived."""
    return [
        f"{p.sender[0]}:{p.segment.letters}{p.segment.length or ''}{'' if p.fate == 'delivered' else ' x'}"
        for p in trace.packets
        if p.t >= since
    ]
