"""What to do next follows from what limits a map."""

import pytest

from npi_bids.assessment.grades import AVERAGES, GOOD, NOT_SUPPORTED, NOTHING, SINGLE
from npi_bids.reports.advice import advise
from tests.sidecars import FIELDS, model_sidecar

QUALITY = FIELDS["Quality"]


def fit(connections=SINGLE, direction=SINGLE, **quality):
    grades = {"Data": GOOD, "Connections": connections, "Direction": direction}
    return model_sidecar(Quality=QUALITY | quality, Grades=grades).fit


def test_a_good_map_needs_no_more_than_reading():
    (line,) = advise(fit(SamplesPerParameter=9.0, MeanFd=0.1))
    assert line.startswith("Read connections with q below 0.05")


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ({"MeanFd": 0.4}, "--fd-thresh"),
        ({"SamplesPerParameter": 0.9}, "--combine runs"),
        ({"StripeShare": 0.9}, "--denoise"),
        ({"CoveredShare": 0.5}, "registration check"),
    ],
)
def test_each_limit_calls_for_something(quality, words):
    assert any(words in line for line in advise(fit(**quality)))
    assert not any(words in line for line in advise(fit()))


def test_a_map_that_shows_nothing_is_not_to_be_read():
    lines = advise(fit(NOTHING, NOT_SUPPORTED))
    assert lines[0].startswith("Do not interpret this map")


def test_averages_come_before_connections_and_without_direction():
    first, second = advise(fit(AVERAGES, NOT_SUPPORTED))[:2]
    assert first.startswith("Average over subjects")
    assert second.startswith("Treat connections as undirected")
