"""What a learner who knows it answers, and how a notebook's questions are found and answered."""

import re
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
#: A cell that asks.
_HERE = re.compile(r'^here\.ask\("(\w+)"\)$', re.MULTILINE)

#: What a learner who knows it types, by lesson and question.
REFERENCE = {
    "life_of_a_connection": {
        "segments": "10",
        "time_wait": "a",
        "next_byte": "41",
        "acked": "c",
        "lost_answer": "c",
    },
    "fin_or_rst": {
        "next_send": "c",
        "unread": "b",
        "drop_seconds": "2 min 11 s",
        "who_reset": "c",
        "health_check": "c",
    },
    "dead_peer": {
        "small_keepalive": "15 min 29 s",
        "how_often": "17",
        "user_timeout": "70",
        "waiting": "d",
    },
    "dead_client": {
        "night_batch": "2 h 11 min 15 s",
        "killed": "10 min",
        "idle_in_transaction": "c",
        "rows_in_flight": "15 min 33 s",
    },
    "keepalive": {
        "power_cut": "2 h 11 min 15 s",
        "second_probe": "75",
        "idle_in_transaction": "c",
        "long_report": "2 h 11 min 15 s",
        "who_first": "c",
    },
    "out_of_ports": {
        "six_hundred": "b",
        "another_server": "6",
        "behind_a_nat": "c",
        "fin_timeout": "60",
        "old_answer": "b",
        "wider": "1075",
        "quit": "c",
    },
    "bind_is_not_connect": {"bind_zero": "b", "own_number": "b", "neighbour": "b", "addresses": "1"},
    "the_window": {
        "who_waits": "c",
        "how_long": "c",
        "user_timeout": "b",
        "message": "a",
    },
    "the_rst_that_did_not_close": {"one_byte_past": "c", "stale": "c", "ten_seconds": "b"},
    "proxies": {
        "silent_report": "60",
        "other_timer": "c",
        "who_asks_whom": "d",
        "dead_client": "c",
    },
    "pools_and_probes": {
        "closes": "c",
        "max_lifetime": "c",
        "restart": "10",
        "the_other_nine": "b",
        "silence": "15 min 29 s",
        "layers": "c",
        "price": "45",
    },
    "failover": {
        "readable": "29 min",
        "refused": "47",
        "dead": "c",
        "two_addresses": "c",
        "which_probe": "c",
    },
    "ghost_connections": {
        "eight_at_once": "c",
        "room_after": "7",
        "who_lives": "b",
        "forgotten": "b",
    },
    "capture_clinic": {
        "first_query": "b",
        "safe_idle": "c",
        "one_side": "c",
        "who_reset": "c",
        "logins": "b",
        "alarm": "c",
        "in_trouble": "1",
    },
    "what_if": {
        "one_lost": "375",
        "expire_time": "b",
        "ping_in_use": "d",
        "behind_the_nat": "2 h",
    },
}


def is_rewritten(lesson):
    """Whether a notebook is a lesson with questions: the start page has none."""
    return "open_lesson(" in (NOTEBOOKS / lesson.notebook).read_text("utf-8")


def asked_in(source):
    """The questions that cells ask, in their order."""
    return _HERE.findall(source)


def answered(source, lesson):
    """A cell's source with its question answered right at once."""

    def answer(call):
        right = REFERENCE[lesson.name][call[1]]
        return f"question = {call[0]}\nquestion.answer = {right!r}\nassert question.check().right\nquestion"

    return _HERE.sub(answer, source)
