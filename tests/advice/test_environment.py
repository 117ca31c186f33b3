"""What can't be: each refused with one sentence."""

import json

import pytest

from tcplab import ParameterError
from tcplab.advice import Environment, Leg, MiddleboxSettings


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"database": "db2"}, "database = 'db2' is not one of postgresql, mysql"),
        ({"driver": "jedis"}, "driver = 'jedis' does not speak to postgresql: use libpq, pgjdbc, psycopg"),
        ({"pool": "bonecp"}, "pool = 'bonecp' is not one of"),
        ({"proxies": ("squid",)}, "proxies: 'squid' is not one of pgbouncer, haproxy"),
        ({"proxies": ("haproxy",)}, "legs: there are 1, and 1 proxy make 2"),
        (
            {"database": "redis", "proxies": ("pgbouncer",), "legs": (Leg("a"), Leg("b"))},
            "PgBouncer serves postgresql, and database = 'redis'",
        ),
        ({"notice_within_s": -1}, "notice_within_s = -1 is out of range: 0 to 86400 s"),
        ({"notice_within_s": "soon"}, "notice_within_s = 'soon' is not a number"),
        ({"instances": 0}, "instances = 0 is out of range: 1 to 100000"),
        ({"linux": "2.4"}, "linux = '2.4'"),
        ({"settings": {"hikaricp.maxlife": 3}}, "'hikaricp.maxlife' is not in the catalogue"),
        ({"settings": {"hikaricp.maxLifetime": "30min"}}, "'30min' is no number in ms"),
        ({"settings": {"hikaricp.maxLifetime": float("nan")}}, "is no number in ms"),
        ({"settings": {"linux.net.ipv4.ip_local_port_range": "9 8"}}, "is no range"),
    ],
)
def test_what_can_not_be(values, says):
    with pytest.raises(ParameterError) as caught:
        Environment(**values)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MiddleboxSettings("", 350), "is no name"),
        (lambda: MiddleboxSettings("a\nb", 350), "is no name: use 1 to 80 printable characters."),
        (lambda: MiddleboxSettings("x" * 81, 350), "is no name"),
        (lambda: MiddleboxSettings("box", -1), "box box: idle_s = -1 is out of range"),
        (
            lambda: MiddleboxSettings("box", 3, kind="layer5"),
            "kind = 'layer5' is not one of layer4, layer7, requests.",
        ),
        (
            lambda: MiddleboxSettings("box", 3, expired="explode"),
            "expired = 'explode' is not one of drop, reject",
        ),
        (lambda: Leg("leg", ("box",)), "leg leg: boxes must be at most 20 boxes."),
    ],
)
def test_boxes_and_legs_that_can_not_be(make, says):
    with pytest.raises(ParameterError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "The environment is no JSON"),
        ("[" * 100_000, "The environment is no JSON"),
        ("[]", "The environment must be an object with database"),
        ('{"colour": 1}', "The environment has no 'colour'; it has database"),
        ('{"legs": 3}', "legs must be a list."),
        ('{"legs": [{"name": "a", "boxes": [{"name": "b"}]}]}', "A box needs a name and idle_s."),
        ('{"legs": [7]}', "A leg must be an object with name, boxes"),
        ('{"proxies": 1}', "proxies must be a list."),
        ('{"settings": []}', "settings must be an object"),
    ],
)
def test_json_that_can_not_be(text, says):
    with pytest.raises(ParameterError) as caught:
        Environment.from_json(text)
    assert says in str(caught.value)


def test_json_is_plain_and_complete():
    here = Environment(legs=(Leg("a", (MiddleboxSettings("b", 350),)),), settings={"libpq.keepalives": 1})
    read = json.loads(here.to_json())
    assert read["legs"][0]["boxes"][0]["idle_s"] == 350 and read["settings"] == {"libpq.keepalives": 1}
    assert Environment.from_json(here.to_json()) == here
    assert Environment.from_json("{}") == Environment()
