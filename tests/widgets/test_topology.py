"""The what-if form: what is pasted, typed, ticked and chosen, and what it then says and shows."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

import tcplab
from tcplab.advice import Environment, Leg, MiddleboxSettings, advise, read_settings
from tcplab.advice.environment import DATABASES, PRESETS, known_middleboxes
from tcplab.advice.race import race
from tcplab.advice.race_lanes import LIVES, UNKNOWN
from tcplab.advice.topology_file import STACKS, examples, load_topology
from tcplab.core.catalogue import catalogue
from tcplab.core.knobs import ParameterError
from tcplab.pictures.topology import EMPTY
from tcplab.widgets import topology as file
from tcplab.widgets.topology import topology

PASTE = {
    "application.properties": "spring.datasource.hikari.maximum-pool-size=30\n"
    "spring.datasource.hikari.max-lifetime=1800000\nspring.datasource.password=hunter2\n"
    "spring.datasource.hikari.idle-timeout=10m\n"
    "spring.datasource.url=jdbc:postgresql://db/shop?tcpKeepAlive=true&password=hunter3",
}


class Page(HTMLParser):
    """What a page can do: the JSON of each element with `data-do`, and the elements without a name."""

    def __init__(self, html):
        super().__init__()
        self.does, self.nameless, self.label, self.last = [], [], 0, ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.label += tag == "label"
        if "data-do" in own:
            self.does.append(json.loads(own["data-do"]))
        if tag in ("input", "select", "textarea") and not (own.get("aria-label") or self.label):
            self.nameless.append((tag, own))

    def handle_endtag(self, tag):
        self.label -= tag == "label"


def do(form, **what):
    """What the page sends when an element is used: only what the page has."""
    value = what.pop("value", None)
    assert what in Page(form.page.html).does, what
    form._on_message(what if value is None else {**what, "value": value})


def field(form, name, value):
    do(form, do="number", field=name, value=value)


# --- nothing said -----------------------------------------------------------------------------------


def test_at_first_nothing_is_checked():
    form = topology()
    assert form.sentence == EMPTY and form.race is None and form.advice is None
    assert form.environment == Environment()
    own = re.sub(r"<svg.*?</svg>", "", form.page.html)  # without the sample
    assert "✓" not in own.replace("not ✓", "")
    assert repr(form) == EMPTY and EMPTY in unescape(form._repr_html_())


def test_a_database_alone_begins_a_path():
    form = topology()
    do(form, do="database", value="mysql")
    assert form.environment.database == "mysql" and form.environment.driver in (
        "connector_j",
        "pymysql",
        "mysqlclient",
    )
    verdicts = {lane.verdict for lane in form.race.lanes}
    assert verdicts <= {UNKNOWN, LIVES}
    assert "not known" in form.page.html


@pytest.mark.parametrize("name", [*STACKS, *PRESETS])
def test_a_worked_topology_says_what_breaks_first(name):
    form = topology(name)
    assert form.error is None and form.advice.checks
    assert form.sentence.startswith(form.race.sentence)
    form.take()
    assert len(form.advice.broken) < len(advise(topology(name).environment).broken) or not form.advice.broken
    form.reset()
    assert form.environment == topology(name).environment


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_one_click(name):
    form = topology()
    form._on_message({"do": "example", "value": name})
    assert form.environment == load_topology(examples()[name]).environment
    form.reset()
    assert form.race is None


# --- pasting ----------------------------------------------------------------------------------------


def test_a_paste_sets_the_form_and_no_password_is_kept():
    form = topology()
    form.paste(PASTE)
    assert form.environment.pool == "hikaricp" and form.environment.driver == "pgjdbc"
    assert form.environment.settings["hikaricp.maximumPoolSize"] == 30 == form.environment.pool_size
    assert form.environment.settings["pgjdbc.tcpKeepAlive"] is True
    assert "hunter" not in form.page.html + form.message + form._repr_html_() + str(form._texts)
    assert "application.properties" in form.page.html
    assert "idle-timeout" in form.message


def test_one_bad_line_is_listed_with_its_reason():
    form = topology()
    form.paste(PASTE)
    do(form, do="page", page="lines")
    assert "application.properties:4" in form.page.html and "can't be read" in unescape(form.page.html)


def test_a_second_file_joins_the_first():
    form = topology()
    form.paste(PASTE)
    form.paste({"pgbouncer.ini": "[pgbouncer]\nmax_client_conn = 500\n"})
    assert form.environment.proxies == ("pgbouncer",) and len(form.environment.legs) == 2
    assert form.environment.settings["hikaricp.maximumPoolSize"] == 30
    form.paste("spring.datasource.hikari.minimum-idle=3")
    assert len(form.reading.files) == 3


def test_a_conflict_is_answered_for_the_product_and_can_be_chosen():
    form = topology()
    form.paste({
        "application.properties": "spring.datasource.hikari.maximum-pool-size=30",
        "deployment.yaml": "- name: SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE\n  value: '80'",
    })  # fmt: skip
    assert form.environment.settings["hikaricp.maximumPoolSize"] == 80
    assert form.sentence.startswith("1 conflict.")
    [conflict] = form.reading.conflicts
    other = 1 - conflict.taken
    do(form, do="choose", conflict=0, choice=other)
    assert form.environment.settings["hikaricp.maximumPoolSize"] == 30
    assert not form.sentence.startswith("1 conflict.")


def test_what_is_too_long_is_refused_and_the_answer_stays():
    form = topology("java_aws")
    before = form.sentence
    form.paste("x" * 1_000_001)
    assert form.message.startswith("✗ ") and form.sentence == before


# --- typing and clicking ----------------------------------------------------------------------------


def test_every_field_that_is_typed_changes_the_environment():
    form = topology("java_aws")
    field(form, "longest_idle_s", "2 h")
    assert form.environment.longest_idle_s == 7200
    field(form, "lost_probes", "3")
    assert form.environment.lost_probes == 3
    do(form, do="box", leg=0, at=0, field="idle_s", value="400 s")
    assert form.environment.legs[0].middleboxes[0].idle_s == 400
    do(form, do="box", leg=0, at=0, field="name", value="Azure Load Balancer")
    assert form.environment.legs[0].middleboxes[0] == known_middleboxes()["Azure Load Balancer"]
    do(form, do="add", leg=1, value="Linux IPVS")
    assert len(form.environment.legs[1].middleboxes) == 2
    do(form, do="box", leg=1, at=1, field="name", value="")
    assert len(form.environment.legs[1].middleboxes) == 1
    do(form, do="add", leg=0, value="proxy haproxy")
    assert form.environment.proxies == ("haproxy", "pgbouncer")
    assert [leg.name for leg in form.environment.legs] == [
        "application to HAProxy", "HAProxy to PgBouncer", "PgBouncer to PostgreSQL",
    ]  # fmt: skip
    do(form, do="proxy", at=0, value="")
    assert form.environment.proxies == ("pgbouncer",) and len(form.environment.legs) == 2
    do(form, do="setting", key="pgjdbc.socketTimeout", value="30")
    assert form.environment.settings["pgjdbc.socketTimeout"] == 30
    do(form, do="setting", key="hikaricp.connectionTimeout", value="7 s")
    assert form.environment.settings["hikaricp.connectionTimeout"] == 7000
    do(form, do="setting", key="pgjdbc.socketTimeout", value="")
    assert "pgjdbc.socketTimeout" not in form.environment.settings
    do(form, do="pool", value="")
    assert form.environment.pool == ""
    do(form, do="database", value="oracle")
    assert form.environment.database == "oracle" and form.environment.proxies == ()
    assert form.race is not None and form.error is None


@pytest.mark.parametrize(
    ("name", "typed"), [("outage_s", "soon"), ("instances", "0"), ("lost_probes", "1e9")]
)
def test_what_cannot_be_is_said_in_one_sentence(name, typed):
    form = topology("java_aws")
    field(form, name, typed)
    assert "✗" in form.message or form.error
    said = form.message or form.error
    assert "\n" not in said
    field(form, "outage_s", "60")
    assert form.race is not None and form.error is None


def test_a_message_that_is_not_ours_changes_nothing():
    form = topology("java_aws")
    before = form.environment
    for content in ("plotly?", None, {"do": "nothing"}, {"do": 3}, {"x": 1}):
        form._on_message(content)
    form._on_message({"do": "box", "leg": 9, "at": 9, "field": "name", "value": ""})
    assert form.environment == before


def test_a_wrong_name_is_said():
    form = topology("java_aws")
    form.set(windows=3)
    assert "no 'windows'" in form.sentence
    form.set(instances=3)
    assert form.environment.instances == 3 and form.error is None
    form.use("nowhere")
    assert "nowhere" in form.sentence
    assert "can't be read" in topology("nowhere.json").sentence


# --- remedies ---------------------------------------------------------------------------------------


def test_a_tick_plays_the_race_again_and_keeps_the_old_winner():
    form = topology("java_aws")
    remedy = next(name for name in form.remedies if name.startswith("pgjdbc"))
    do(form, do="tick", name=remedy, value=True)
    assert form.sentence.startswith("7 too late → ")
    assert form.environment.settings["pgjdbc.tcpKeepAlive"] is True
    assert "stroke-dasharray" in form.page.html and "ticked" in form.page.html
    do(form, do="tick", name=remedy, value=False)
    assert form.environment == topology("java_aws").environment


def test_a_suggestion_mends_what_can_be_mended_with_few_ticks():
    form = topology("java_aws")
    form.suggest()
    left = [lane.key for lane in form.race.broken]
    everything = topology("java_aws")
    everything.tick(*everything.remedies)
    assert len(left) <= len(everything.race.broken)
    assert 0 < len(form._ticked) < len(form.remedies)


def test_a_remedy_says_which_lanes_it_mends():
    form = topology("java_aws")
    for offered in form._offered:
        broken = {lane.key for lane in race(offered.remedy.on(form.environment)).broken}
        assert not broken & set(offered.mends)


def test_a_lane_opens_its_packets_and_closes_them():
    form = topology("java_aws")
    form._on_message({"do": "lane", "lane": "E"})
    words, figure = form.packets.children
    assert form.race["server_dies_sending"].says in unescape(words.value) and "Ladder" in figure.said
    form._on_message({"do": "lane", "lane": "E"})
    assert form.packets.children == ()
    for lane in form.race.lanes:
        form._on_message({"do": "lane", "lane": lane.situation.letter})
        assert form.packets.children and not form.message
    form._on_message({"do": "lane", "lane": "Z"})
    assert form.packets.children == ()


# --- showing ----------------------------------------------------------------------------------------


def test_names_are_text_wherever_they_are_shown():
    evil = "<img src=x onerror=alert(1)>"
    here = Environment(legs=(Leg(evil, (MiddleboxSettings(evil, 350),)),), longest_silent_query_s=900)
    form = topology(here)
    form.paste({evil: f"{evil}=3\nkeepalives_idle=5"})
    for page in ("race", "table", "lines", "export"):
        form._do_page({"page": page})
        assert "<img" not in form.page.html
    assert "<img" not in form._repr_html_()
    assert evil[:20] in unescape(form.page.html) or evil in unescape(form._repr_html_())


@pytest.mark.parametrize("name", ["", *STACKS, *PRESETS])
def test_everything_one_types_into_has_a_name(name):
    form = topology(name)
    assert Page(form.page.html).nameless == []
    if name:
        for lane in form.race.lanes:
            assert f'aria-label="{lane.sentence[:20]}' in unescape(form.page.html)
            assert f'data-lane="{lane.situation.letter}"' in form.page.html
        assert len(re.findall(r"<li tabindex=", form.page.html)) == len(form.race.lanes)


def test_the_table_is_a_page_of_its_own():
    form = topology("java_aws")
    do(form, do="page", page="table")
    assert all(lane.says in unescape(form.page.html) for lane in form.race.lanes)


def test_where_no_widget_lives_the_answer_is_text():
    form = topology("On-prem: firewall, Oracle")
    bundle = form._repr_mimebundle_()
    assert bundle["text/plain"] == form.sentence == repr(form)
    assert "<svg" in bundle["text/html"] and "<table" in bundle["text/html"]
    assert tcplab.topology is topology


def test_a_mistake_of_ours_is_said_and_logged(monkeypatch):
    form = topology("java_aws")

    def fail(environment):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("tcplab.widgets.topology.advise", fail)
    field(form, "instances", "5")
    assert "This is a bug: please report it (ZeroDivisionError: planted)" in form.sentence
    monkeypatch.undo()
    form.set(instances=6)
    assert form.error is None and form.environment.instances == 6


# --- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*STACKS, *PRESETS])
def test_a_saved_topology_comes_back_as_it_was(name, tmp_path):
    form = topology(name)
    form.save(tmp_path / "here.toml")
    assert form.message == "Saved as here.toml."
    again = topology(str(tmp_path / "here.toml"))
    assert again.environment == _as_saved(form.environment)
    form.load(tmp_path / "here.toml")
    assert form.message == "Loaded here.toml."


def _as_saved(env):
    """Legs get their names from the products."""
    ends = [
        "application",
        *(leg.name.rpartition(" to ")[2] for leg in file._renamed(env, env.proxies, list(env.legs)).legs),
    ]
    legs = [replace(leg, name=f"{ends[i]} to {ends[i + 1]}") for i, leg in enumerate(env.legs)]
    return replace(env, legs=tuple(legs))


def test_files_of_earlier_versions_are_read():
    old = PRESETS["On-prem: firewall, Oracle"]
    form = topology()
    form._on_message({"do": "texts", "texts": [["topology.json", old.to_json()]]})
    assert form.environment == old and form.message == "Loaded topology.json."


def test_a_file_of_another_kind_is_not_replaced(tmp_path):
    form = topology("java_aws")
    mine = tmp_path / "notes.txt"
    mine.write_text("notes of mine")
    form.save(mine)
    assert "exists and is not a saved topology" in form.message and mine.read_text() == "notes of mine"
    form.save(tmp_path / "no" / "folder.toml")
    assert form.message.startswith("✗ ") and "can't be written" in form.message
    with pytest.raises(ParameterError, match="can't be read"):
        file.load("\0.json")
    form.upload(b"{", "broken.json")
    assert form.message.startswith("✗ broken.json")
    form.upload(b"\xff", "broken.toml")
    assert "is not a text file" in form.message


def test_every_setting_of_the_catalogue_comes_back_from_a_file():
    for database in DATABASES:
        env = Environment(database=database)
        own = {
            f"{each.product.key}.{each.name}": each.default
            for each in catalogue()
            if each.product.key in (env.database, env.driver, "linux") and each.default not in (None, "")
        }
        env = replace(env, settings=own)
        text = file.topology_toml(env)
        assert file.from_bytes(text.encode(), "x.toml").settings == env.settings
    assert read_settings("keepalives_idle=5")
