"""Pools as their products ship them: the defaults of the catalogue, as far as `pool` can play them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tcplab.catalogue import setting


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A product's pool with its defaults, as parameters of `Pool`."""

    title: str
    settings: Mapping[str, Any]
    #: Of a second probe that the product has besides; `Pool` plays one at a time.
    background: Mapping[str, Any] = field(default_factory=dict)
    #: One or two sentences: what of the product `Pool` can't play.
    beyond: str


def _seconds(product: str, name: str) -> float:
    """A timer's default; 0 where it is off."""
    return setting(product, name).seconds or 0


def _number(product: str, name: str) -> Any:
    return setting(product, name).default


def _order(is_lifo: Any) -> str:
    return "lifo" if is_lifo else "fifo"


def shipped() -> tuple[Shipped, ...]:
    """Six pools that DBAs meet.

    In which order they lend is in the catalogue where it is a setting; else from the source: HikariCP's
    ConcurrentBag.borrow, psycopg_pool's ConnectionPool._get_ready_connection. `after_error` is that of
    SQLAlchemy's Engine (engine/base.py:Connection._handle_dbapi_exception), not of its pool alone.
    """
    commons = {
        "size": _number("commons_pool2", "maxTotal"),
        "order": _order(_number("commons_pool2", "lifo")),
        "max_lifetime_s": 0,
        "acquire_timeout_s": _seconds("commons_pool2", "maxWait"),
    }
    return (
        Shipped(
            title="HikariCP",
            settings={
                "size": _number("hikaricp", "maximumPoolSize"),
                "order": "lifo",
                "probe": "test_on_borrow",
                "bypass_window_s": _seconds("hikaricp", "com.zaxxer.hikari.aliveBypassWindowMs"),
                "max_lifetime_s": _seconds("hikaricp", "maxLifetime"),
                "acquire_timeout_s": _seconds("hikaricp", "connectionTimeout"),
            },
            background={
                "probe": "background_ping",
                "probe_interval_s": _seconds("hikaricp", "keepaliveTime"),
                "socket_timeout_s": _seconds("hikaricp", "validationTimeout"),
            },
            beyond="It has both probes at once, and lends last in first out for each thread only.",
        ),
        Shipped(
            title="Commons DBCP 2",
            settings=commons
            | {
                "size": _number("dbcp2", "maxTotal"),
                "probe": "test_on_borrow" if _number("dbcp2", "testOnBorrow") else "none",
                "max_lifetime_s": _seconds("dbcp2", "maxConnLifetimeMillis"),
                "acquire_timeout_s": _seconds("dbcp2", "maxWaitMillis"),
            },
            beyond="It opens connections when they are needed, not all at the beginning.",
        ),
        Shipped(
            title="Commons Pool 2",
            settings=commons
            | {"probe": "test_on_borrow" if _number("commons_pool2", "testOnBorrow") else "none"},
            beyond="It opens connections when they are needed, not all at the beginning.",
        ),
        Shipped(
            title="Jedis",
            settings=commons
            | {
                "probe": "test_while_idle" if _number("jedis", "testWhileIdle") else "none",
                "probe_interval_s": _seconds("jedis", "timeBetweenEvictionRuns"),
                "idle_timeout_s": _seconds("jedis", "minEvictableIdleTime"),
                "socket_timeout_s": _seconds("jedis", "socketTimeoutMillis"),
            },
            beyond="It throws out what has rested for a minute at its next round, not at that second.",
        ),
        Shipped(
            title="psycopg_pool",
            settings={
                "size": _number("psycopg_pool", "min_size"),
                "order": "fifo",
                "max_lifetime_s": _seconds("psycopg_pool", "max_lifetime"),
                "acquire_timeout_s": _seconds("psycopg_pool", "timeout"),
            },
            beyond="With a check it rests after each one that fails, longer and longer.",
        ),
        Shipped(
            title="SQLAlchemy",
            settings={
                "size": _number("sqlalchemy", "pool_size"),
                "order": _order(_number("sqlalchemy", "pool_use_lifo")),
                "probe": "test_on_borrow" if _number("sqlalchemy", "pool_pre_ping") else "none",
                "after_error": "all",
                "max_lifetime_s": _seconds("sqlalchemy", "pool_recycle"),
                "acquire_timeout_s": _seconds("sqlalchemy", "pool_timeout"),
            },
            beyond="Under load it opens up to ten connections more than its size.",
        ),
    )
