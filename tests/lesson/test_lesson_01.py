"""What lesson 01 says of a COMMIT without an answer, against the recording."""

from recordings.captures import STORED, Capture
from tcplab import FinOrRst, SlowReader, read_capture, run


def test_a_real_commit_is_booked_and_its_answer_never_comes():
    told = {event["call"]: event["result"] for event in Capture("postgres_commit_lost").sidecar["events"]}
    assert told["psql: commit;"].startswith("server closed the connection unexpectedly")
    (status,) = (result for call, result in told.items() if "pg_xact_status" in call)
    assert status == "committed" and told["psql: select count(*) from payment;"] == "1"
    (waits,) = (result for call, result in told.items() if "pg_stat_activity" in call)
    assert waits == "active|SyncRep|commit;"


def test_every_byte_of_the_commit_was_acknowledged_before_the_fin():
    trace = read_capture(STORED / "postgres_commit_lost.pcap").connection(0)
    numbers = dict(zip(map(id, trace.packets), trace.relative(), strict=True))
    sent = max(numbers[id(p)].seq + p.segment.length for p in trace.packets
               if p.sender == "client" and p.segment.length)  # fmt: skip
    ended = next(p for p in trace.packets if "F" in p.segment.letters)
    acked = max(numbers[id(p)].ack for p in trace.packets if p.sender == "server" and p.t <= ended.t)
    assert ended.sender == "server" and acked == sent
    last = max(p.t for p in trace.packets if p.sender == "client" and p.segment.length)
    assert not [p for p in trace.packets if p.sender == "server" and p.segment.length and p.t > last]


def test_the_window_closes_for_a_slow_reader_only():
    assert run(SlowReader(read_every_s=0.01)).outcome["stalled_s"] == 0
    assert run(SlowReader(read_every_s=1)).outcome["stalled_s"] > 10


def test_a_query_that_was_read_ends_like_one_that_was_answered_but_for_its_answer():
    def answers(ending):
        trace = run(FinOrRst(ending=ending))
        data = [p for p in trace.packets if p.segment.length]
        asked = sum(p.sender == "client" for p in data)
        return asked, sum(p.sender == "server" for p in data), trace.outcome["server_sends"]

    assert answers("kill_unread") == (2, 1, "RST")
    assert answers("kill_running") == (2, 1, "FIN")
    assert answers("kill") == (1, 1, "FIN")
