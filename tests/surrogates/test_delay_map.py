"""Prior knowledge of delays: tables that are read or refused, and agreement with estimates."""

import numpy as np
import pytest

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.delay_map import (
    DelayMap,
    check_delay_map,
    read_delay_map,
    weigh_delay_map,
)
from npi_bids.surrogates.spectral_selection import ObservationParts, choose_observation
from tests.surrogates.observed_process import run_of

LABELS = tuple(f"R{region}" for region in range(8))


def table(tmp_path, header, rows):
    path = tmp_path / "delays.tsv"
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(*columns):
    return list(zip(LABELS, *columns, strict=True))


def test_regions_are_matched_by_name(tmp_path):
    delays, veins = np.arange(8) / 4, np.arange(8.0) ** 2
    rows = rows_of(delays, np.full(8, 0.1), veins)[::-1]
    known = read_delay_map(table(tmp_path, ["name", "delay", "delay_sd", "veins"], rows), LABELS)
    np.testing.assert_allclose(known.mean, delays)
    np.testing.assert_allclose(known.sd, 0.1)
    np.testing.assert_allclose(known.covariates[:, 0], (veins - veins.mean()) / veins.std())
    assert known.names == ("veins",)
    np.testing.assert_allclose(known.take(np.array([2, 5])).mean, delays[[2, 5]])


def test_a_table_that_a_run_wrote_is_a_map(tmp_path):
    rows = [(region + 1, *row) for region, row in enumerate(rows_of(np.ones(8), np.ones(8) / 5))]
    known = read_delay_map(
        table(tmp_path, ["index", "name", "delay", "standard_error"], rows), LABELS
    )
    np.testing.assert_allclose(known.sd, 0.2)
    assert not known.names


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["name", "delay"], [*rows_of(range(8)), ("R9", 1)], "does not have: R9"),
        (["name", "delay"], rows_of(range(8))[:-2], "lacks regions of the atlas: R6, R7"),
        (["name", "delay"], [*rows_of(range(8)), ("R1", 1)], "repeats regions: R1"),
        (["name", "delay"], rows_of(["n/a", *range(7)]), "no value of delay for R0"),
        (["name", "delay"], rows_of(["slow", *range(7)]), "slow"),
        (["name", "delay", "delay_sd"], rows_of(range(8), [-1] * 8), "negative delay_sd"),
        (["name", "veins"], rows_of([2] * 8), "veins has the same value in every region"),
        (["region", "delay"], rows_of(range(8)), "no column name .found: region, delay"),
        (["name", "delay_sd"], rows_of(range(8)), "states nothing about delays"),
        (
            ["name", "a", "b", "c"],
            rows_of(range(8), range(1, 9), np.arange(8) ** 2),
            "3 covariates .* for 8 regions; expected at least 4 regions per covariate",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, header, rows, message):
    with pytest.raises(InputDataError, match=message):
        read_delay_map(table(tmp_path, header, rows), LABELS)


@pytest.mark.parametrize(
    ("options", "pretrained", "message"),
    [
        ({"surrogate": "var"}, False, "read by --surrogate hybrid alone"),
        ({"delays": "none"}, False, "not read with --delays none"),
        ({"linear_part": "var"}, False, "not read with --linear-part var"),
        ({"residual": "networks"}, False, "not read with --residual networks"),
        ({}, True, "not read with pretrain and --pretrained"),
    ],
)
def test_a_map_that_would_not_be_read_is_refused(options, pretrained, message):
    with pytest.raises(SettingsError, match=message):
        check_delay_map(TrainSettings(**options), pretrained=pretrained)


def estimates(seed=0, n=30):
    """Return delays (s), estimates with errors of known information, and that information."""
    rng = np.random.default_rng(seed)
    delays = rng.standard_normal(n)
    errors = 0.3 * rng.standard_normal(n)
    centred = np.eye(n) - 1 / n  # nothing is known about the mean
    return delays, centred @ (delays + errors), centred / 0.3**2, rng


def test_evidence_is_for_a_map_that_holds_and_against_one_of_other_regions():
    delays, estimated, information, rng = estimates()
    no_covariates, zero = np.zeros((30, 0)), np.zeros(30)
    right, wrong, nothing = (
        weigh_delay_map(DelayMap(mean, zero, no_covariates), estimated / 2, information * 4, 2.0)
        for mean in (delays + 5, rng.permutation(delays), zero)
    )
    assert right.evidence > nothing.evidence + 20
    assert wrong.evidence < nothing.evidence
    assert right.spread < 0.2
    assert nothing.spread == pytest.approx(delays.std(), rel=0.3)


def test_coefficients_of_covariates_are_found():
    delays, estimated, information, rng = estimates()
    related = (delays - delays.mean()) / delays.std()
    covariates = np.stack([-related, rng.standard_normal(30)], axis=1)
    known = DelayMap(np.zeros(30), np.zeros(30), covariates, ("related", "unrelated"))
    weighed = weigh_delay_map(known, estimated, information, 1.0)
    assert weighed.coefficients[0] == pytest.approx(-delays.std(), abs=0.15)
    assert abs(weighed.coefficients[1]) < 0.15
    prior = known.apply(weighed, 2.0)
    np.testing.assert_allclose(
        np.array(prior.mean) * 2, covariates @ weighed.coefficients, atol=1e-12
    )


def test_a_map_is_followed_if_it_holds(system):
    signals, ec, _ = system
    rng = np.random.default_rng(3)
    delays = 0.5 * rng.standard_normal(signals.shape[1])
    frequency = 2 * np.pi * np.fft.rfftfreq(700)
    spectrum = np.fft.rfft(signals[:700], axis=0)
    run = run_of(np.fft.irfft(spectrum * np.exp(-1j * frequency[:, None] * delays), 700, axis=0))
    zero, no_covariates = np.zeros_like(delays), np.zeros((len(delays), 0))
    maps = [DelayMap(mean, zero, no_covariates) for mean in (delays, rng.permutation(delays))]
    right, wrong, without = (
        choose_observation([run], 1.0, ObservationParts(gain=False, delay_map=known))
        for known in (*maps, None)
    )
    assert right.choice.delays is not None
    assert wrong.choice.delays is None
    np.testing.assert_array_equal(wrong.fit.delays, without.fit.delays)
    assert np.corrcoef(right.fit.delays, delays)[0, 1] > 0.95
    agreement = [
        pearson(antisymmetric(model.fit.transition), antisymmetric(ec))
        for model in (right, without)
    ]
    assert agreement[0] >= agreement[1]
