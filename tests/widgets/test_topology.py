"""The what-if form: all that can be typed, what it says of it, and files that come back as they were."""

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape

import ipywidgets as widgets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tcplab
from inside import only
from tcplab.advice import Environment, Leg, MiddleboxSettings, read_settings
from tcplab.advice.environment import DATABASES, DRIVERS_OF, KINDS, PRESETS, known_middleboxes
from tcplab.core.catalogue import catalogue
from tcplab.core.knobs import ParameterError
from tcplab.pictures.race import draw_race, race_table
from tcplab.route.firewall import EXPIRED
from tcplab.widgets import topology as file
from tcplab.widgets.topology import OWN as OWN_TOPOLOGY
from tcplab.widgets.topology import OWN_BOX, EnvironmentForm, topology

names = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=12).filter(
    str.isprintable
)
seconds = st.sampled_from([0, 1, 7.5, 60, 350, 3600, 432_000])
boxes = st.builds(
    MiddleboxSettings, names, seconds, st.sampled_from(KINDS), st.sampled_from(list(EXPIRED)), seconds,
    st.integers(0, 65_535), st.sampled_from([0, 60, 120, 0.5]),
)  # fmt: skip


@st.composite
def environments(draw):
    database = draw(st.sampled_from(list(DATABASES)))
    chains = [(), ("haproxy",)]
    chains += [("pgbouncer",), ("haproxy", "pgbouncer")] if database == "postgresql" else []
    proxies = draw(st.sampled_from(chains))
    legs = [
        Leg(f"{i} {draw(names)}", tuple(draw(st.lists(boxes, max_size=2)))) for i in range(len(proxies) + 1)
    ]
    return Environment(
        database=database, driver=draw(st.sampled_from(DRIVERS_OF[database])), proxies=proxies,
        legs=tuple(legs), lost_probes=draw(st.integers(0, 20)), hold_s=draw(st.sampled_from([0, 0.25, 3600])),
        longest_silent_query_s=draw(st.sampled_from([0, 0.5, 86_400])),
        linux=draw(st.sampled_from(["6.18", "4.4"])),
        instances=draw(st.integers(1, 100_000)), settings={"linux.net.ipv4.tcp_keepalive_time": 300},
    )  # fmt: skip


@given(environment=environments())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_form_and_a_file_give_back_what_they_were_given(environment):
    form = EnvironmentForm(lambda: None, {})
    form.show(environment)
    assert form.environment() == environment
    assert file.from_bytes(environment.to_json().encode(), "x.json") == environment


def test_every_setting_of_the_catalogue_is_read_again_from_its_line():
    values = {}
    for each in catalogue():
        if each.product.key not in ("socket", "java") and each.default is not None and each.default != "":
            values[f"{each.product.key}.{each.name}"] = each.default
    kept = Environment(settings=values).settings
    assert len(kept) > 100
    for key, value in kept.items():
        assert read_settings(file.as_lines({key: value})).get(key) == value, key


@pytest.mark.parametrize("name", PRESETS)
def test_a_worked_topology_says_what_breaks_first_and_the_proposed_settings_mend_it(name):
    form = topology(name)
    (check, *_) = form.advice.broken
    assert form.sentence.startswith(f"{len(form.advice.broken)} of {len(form.advice.checks)} checks ")
    assert check.says in form.sentence and check.message in form.sentence
    assert form.preset.value == name
    form.take()
    assert form.sentence.startswith("Nothing breaks: all ")
    assert form.preset.value == OWN_TOPOLOGY
    form.reset()
    assert form.environment == PRESETS[name]


def test_one_lost_probe_is_too_many_for_300_before_350():
    form = topology("keepalive 300 before a box of 350")
    assert "300 + 75 × 1 = 375 s (libpq) < 350 s" in form.sentence
    form.set(lost_probes=0)
    assert form.sentence.startswith("Nothing breaks")
    form.set(lost_probes=1, settings={"linux.net.ipv4.tcp_keepalive_time": 274})
    assert form.sentence.startswith("Nothing breaks")
    form.set(settings={"linux.net.ipv4.tcp_keepalive_time": 275})
    assert not form.sentence.startswith("Nothing breaks")


def test_every_field_that_is_typed_changes_the_environment():
    form = topology("AWS: NLB, PgBouncer, RDS")
    typed = form.form
    typed.numbers["longest_idle_s"].value = 7201
    assert form.environment.longest_idle_s == 7201
    row = typed.legs[0].rows[0]
    row.fields["idle_s"].value = 400
    assert form.environment.legs[0].middleboxes[0].idle_s == 400
    assert row.known.value == OWN_BOX
    row.known.value = "Azure Load Balancer"
    assert form.environment.legs[0].middleboxes[0] == known_middleboxes()["Azure Load Balancer"]
    typed.legs[1].add()
    assert len(form.environment.legs[1].middleboxes) == 2
    typed.legs[1].remove(typed.legs[1].rows[0])
    assert len(form.environment.legs[1].middleboxes) == 1
    typed.proxies.value = ("haproxy", "pgbouncer")
    assert [leg.name for leg in form.environment.legs] == [
        "application to HAProxy", "HAProxy to PgBouncer", "PgBouncer to PostgreSQL",
    ]  # fmt: skip
    assert form.environment.legs[0].middleboxes[0].name == "Azure Load Balancer"
    typed.database.value = "oracle"
    assert (form.environment.driver, form.environment.proxies) == ("oracle", ())
    assert form.advice is not None


def test_what_cannot_be_is_said_in_one_sentence_and_leaves_no_answer():
    form = topology()
    form.form.numbers["instances"].value = 0
    assert form.sentence == "instances = 0 is out of range: 1 to 100000."
    assert form.advice is None and form.race is None and form.checks.value == ""
    assert form.tabs.layout.display == "none" and "✗" in form.status.value
    form.form.numbers["instances"].value = 2
    assert form.advice is not None and form.tabs.layout.display == ""
    form.set(windows=3)
    assert "no 'windows'" in form.sentence
    form.set(instances=3)
    assert form.environment.instances == 3
    form.use("nowhere")
    assert "nowhere" in form.sentence
    assert "can't be read" in topology("nowhere.json").sentence


def test_pasted_settings_join_and_what_is_unknown_is_named_without_its_value():
    form = topology("AWS: NLB, PgBouncer, RDS")
    form.pasted.value = "jdbc:postgresql://db/shop?tcpKeepAlive=true&fancyThing=hunter2&password=hunter3"
    form.paste(form.pasted.value)
    assert form.pasted.value == ""
    assert form.environment.settings["pgjdbc.tcpKeepAlive"] is True
    assert form.environment.settings["pgbouncer.max_client_conn"] == 500
    assert "fancyThing" in form.message
    assert (
        "hunter"
        not in form.message + form.messages[0].value + form.set_today.value + form.environment.to_json()
    )
    before = form.environment
    form.paste("spring.datasource.hikari.maxLifetime=soon")
    assert "Line 1 is not used: HikariCP: maxLifetime = 'soon' can't be read" in form.message
    assert form.environment == before
    form.forget_settings()
    assert form.environment.settings == {}


def test_saving_and_loading_is_exact(tmp_path):
    form = topology("Kubernetes: NAT gateway, MySQL", instances=41)
    form.save(tmp_path / "mine.json")
    assert form.message == "Saved as mine.json."
    other = topology()
    other.load(tmp_path / "mine.json")
    assert other.environment == form.environment
    assert topology(str(tmp_path / "mine.json")).environment == form.environment
    link = re.search(r'download="topology.json" href="data:application/json;base64,([^"]+)"', form.link.value)
    assert file.from_bytes(base64.b64decode(link[1]), "topology.json") == form.environment


def test_a_file_handed_over_by_the_browser_is_shown():
    form = topology()
    wanted = PRESETS["On-prem: firewall, Oracle"]
    upload = only(form, widgets.FileUpload)
    upload.value = ({
        "name": "from a colleague.json", "content": memoryview(wanted.to_json().encode()), "size": 1,
        "type": "application/json", "last_modified": datetime.now(UTC),
    },)  # fmt: skip
    assert form.environment == wanted and form.message == "Loaded from a colleague.json."
    assert upload.value == ()


GOOD = json.loads(PRESETS["AWS: NLB, PgBouncer, RDS"].to_json())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no text"),
        (b"[1]", "must be an object"),
        (b"[" * 100_000, "no JSON"),
        (b" " * 1_000_001, "at most 1,000,000"),
        (json.dumps(GOOD | {"instances": "many"}).encode(), "instances = 'many'"),
        (json.dumps(GOOD | {"legs": GOOD["legs"][:1]}).encode(), "legs: there are 1"),
        (json.dumps(GOOD | {"rtt": 3}).encode(), "no 'rtt'"),
        (json.dumps(GOOD | {"settings": {"hikaricp.speed": 1}}).encode(), "not in the catalogue"),
    ],
)
def test_a_broken_file_gets_one_sentence(content, says, tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    form = topology("AWS: NLB, PgBouncer, RDS")
    form.load(path)
    assert form.message.startswith("✗ broken.json") and says in form.message and "\n" not in form.message
    assert form.environment == PRESETS["AWS: NLB, PgBouncer, RDS"]


def test_a_file_that_is_not_there_or_cannot_be_written_gets_one_sentence(tmp_path):
    form = topology()
    form.load(tmp_path / "none.json")
    assert "No such file" in form.message
    mine = tmp_path / "notes.txt"
    mine.write_text("notes of mine")
    form.save(mine)
    assert "is there already, and no saved topology" in form.message and mine.read_text() == "notes of mine"
    form.save(tmp_path / "no" / "folder.json")
    assert form.message.startswith("✗ ") and "can't be written" in form.message
    with pytest.raises(ParameterError, match="can't be read"):
        file.load("\0")


def test_names_are_text_wherever_they_are_shown():
    evil = "<img src=x onerror=alert(1)>"
    environment = Environment(legs=(Leg(evil, (MiddleboxSettings(evil, 350),)),), longest_silent_query_s=900)
    form = topology(environment)
    for shown in (form.status, form.checks, form.changes, form.proof, form.set_today, form.link):
        assert "<img" not in shown.value
    assert evil in unescape(form.checks.value)
    assert "<img" not in draw_race(form.race).svg + race_table(form.race)


def test_settings_to_paste_say_who_may_and_what_needs_a_restart():
    form = topology("AWS: NLB, PgBouncer, RDS")
    html = unescape(form.changes.value)
    assert "The DBA" in html and "The application's team" in html
    assert "needs a reload" in html and "tcpKeepAlive=true" in html
    for text in form.advice.paste.values():
        assert text in html
    assert "ss -tno" in form.proof.value


def test_everything_one_types_into_has_a_visible_name():
    form = topology("Kubernetes: NAT gateway, MySQL")
    seen, todo = 0, [form]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        if {"value", "description"} <= set(widget.trait_names()) and type(widget).__name__ != "HTML":
            assert widget.description, type(widget).__name__
            seen += 1
    assert seen > 25


def test_where_no_widget_lives_the_answer_is_text():
    form = topology("On-prem: firewall, Oracle")
    bundle = form._repr_mimebundle_()
    assert bundle["text/plain"] == form.sentence == repr(form)
    assert form.checks.value in bundle["text/html"]
    assert tcplab.topology is topology


def test_a_mistake_of_ours_is_told_and_logged(monkeypatch, caplog):
    form = topology()

    def fail(environment):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("tcplab.widgets.topology.advise", fail)
    form.form.numbers["instances"].value = 5
    assert "tcplab itself makes a mistake (ZeroDivisionError: planted)" in form.sentence
    monkeypatch.undo()
    form.form.numbers["instances"].value = 6
    assert form.advice.environment == replace(Environment(), instances=6, legs=form.environment.legs)
