"""What every study's series look like, as `tcplab run NAME --json` prints them and its docstring says."""

import json
import re

import pytest

from tcplab.studies import STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_the_docstring_names_every_series_and_no_other(name):
    study = STUDIES[name]
    _, _, told = study.__doc__.partition("Series")
    series = study.from_values(study.quick).simulated().series
    assert set(re.findall(r"`(\w+)`", told)) == set(series)
    steps = re.search(r"each\s+of\s+at\s+most\s+(\d+)\s+steps", told)[1]
    longest = study.from_values({}).simulated().series["t_s"]
    assert len(series["t_s"]) <= len(longest) == int(steps)


@pytest.mark.parametrize("name", STUDIES)
def test_a_curve_has_a_number_for_each_step_and_the_rest_are_rows_within_the_run(name):
    study = STUDIES[name]
    for values in ({}, study.quick, *study.presets.values()):
        made = study.from_values(values)
        series = json.loads(json.dumps(made.simulated().to_json(), allow_nan=False))["series"]
        steps = series["t_s"]
        assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] < made.length_s
        for key, row in series.items():
            if not row or isinstance(row[0], list):
                spans = [[each for each in line if not isinstance(each, str)][-2:] for line in row]
                assert all(0 <= since <= until for since, until in spans), key
            else:
                assert len(row) == len(steps) and all(x is None or x >= 0 for x in row), key
