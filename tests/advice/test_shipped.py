"""Pools with their products' defaults: each can be played, and says what the catalogue says."""

from dataclasses import replace

from tcplab import Pool, run
from tcplab.advice.products import shipped

POOLS = {each.title: each for each in shipped()}


def test_eight_products_and_every_one_can_be_played():
    assert len(POOLS) == 8
    for each in POOLS.values():
        for settings in (each.settings, each.settings | each.background):
            told = run(Pool(breaks="server_restart", **settings)).outcome
            assert told["requests"] == 60_000 and told["errors"] >= 1, "at least what was in flight"
        assert each.beyond.endswith(".")


def test_the_defaults_are_the_products_own():
    hikari = POOLS["HikariCP"]
    assert hikari.settings == {
        "size": 10,
        "order": "lifo",
        "probe": "test_on_borrow",
        "bypass_window_s": 0.5,
        "max_lifetime_s": 1800,
        "acquire_timeout_s": 30,
    }
    assert hikari.background == {
        "probe": "background_ping",
        "probe_interval_s": 120,
        "socket_timeout_s": 5,
    }
    assert POOLS["Commons DBCP 2"].settings["probe"] == "test_on_borrow"
    assert POOLS["Commons Pool 2"].settings["probe"] == "none"
    jedis = POOLS["Jedis"].settings
    assert (jedis["probe"], jedis["probe_interval_s"], jedis["idle_timeout_s"]) == ("test_while_idle", 30, 60)
    assert {
        title: pool.settings["order"] for title, pool in POOLS.items() if "SQL" in title or "_" in title
    } == {
        "psycopg_pool": "fifo",
        "SQLAlchemy": "fifo",
    }


def test_what_reads_its_idle_connections_has_no_zombies():
    reads = {title for title, pool in POOLS.items() if pool.settings.get("reads_idle")}
    assert reads == {"Lettuce", "Redisson"}
    for title in reads:
        told = run(Pool(breaks="server_restart", break_at_s=65.001, **POOLS[title].settings)).outcome
        assert told["zombies_left"] == 0 and told["zombie_borrows"] <= 1


def test_the_presets_of_the_study_have_the_products_defaults():
    named = {name.removeprefix("restart, "): values for name, values in Pool.presets.items()}
    for title in ("HikariCP", "Commons Pool 2", "Jedis", "Lettuce", "Redisson"):
        given = {**Pool.defaults(), **named[title]}
        assert given == {**Pool.defaults(), "breaks": "server_restart", **POOLS[title].settings}, title


def test_only_an_engine_learns_from_one_error():
    learns = [title for title, pool in POOLS.items() if pool.settings.get("after_error") == "all"]
    assert learns == ["SQLAlchemy"]
    engine = Pool(breaks="server_restart", break_at_s=65.001, **POOLS["SQLAlchemy"].settings)
    told = run(engine).outcome
    # An answer takes 7 ms: the requests of 64.995 s and 65 s are in flight.
    assert (told["errors"], told["zombie_borrows"], told["zombies_left"]) == (2, 0, 0)
    assert run(replace(engine, after_error="this_one")).outcome["errors"] == engine.size


def test_a_pool_without_a_limit_waits_for_ever():
    for title in ("Commons DBCP 2", "Commons Pool 2", "Jedis"):
        assert POOLS[title].settings["acquire_timeout_s"] == 0
        assert Pool(**POOLS[title].settings).acquire_timeout_s == 0
