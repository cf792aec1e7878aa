"""Exploration of parameters over a grid."""

import numpy as np
import pytest

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.whole_brain import exploration as module
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.exploration import (
    Exploration,
    dominant_frequency,
    explore_grid,
    fc_fit,
    fcd_distance,
    gw_subjects,
    read_subjects,
)
from npi_bids.whole_brain.forward import Activity, ForwardModel, ForwardSettings
from npi_bids.whole_brain.parameters import Axis, parse_axes
from npi_bids.whole_brain.search import BrainTarget

pytest.importorskip("neurolib")
LEAKY = "tests.whole_brain.toy_model:LeakyModel"
CHAIN = Connectome(np.diag([1.0, 1.0], 1), np.zeros((3, 3)), ("A", "B", "C"))
SHORT = ForwardSettings(seconds=0.1, discard=0.4)
INPUT, COUPLING = Axis("x_ext", 0.0, 2.0, 3), Axis("K_gl", 0.0, 0.5, 2)


def leaky(*measures, **parameters):
    return Exploration(ForwardModel(LEAKY, CHAIN, parameters), SHORT, measures)


def test_the_map_is_that_of_theory(tmp_path):
    points = explore_grid(leaky("max_rate", "min_rate", "mean_rate"), [INPUT, COUPLING], tmp_path)
    assert len(points) == 6
    for point in points:
        x, k = point.parameters["x_ext"], point.parameters["K_gl"]
        steady = np.array([x, x + k * x, x + k * (x + k * x)])
        assert point.measures["max_rate"] == pytest.approx(steady.max(), rel=1e-6)
        assert point.measures["min_rate"] == pytest.approx(steady.min(), rel=1e-6)
        assert point.measures["mean_rate"] == pytest.approx(steady.mean(), rel=1e-6)


def test_an_interrupted_exploration_resumes_where_it_stopped(tmp_path, monkeypatch):
    exploration = leaky("max_rate", sigma=0.1)
    whole = explore_grid(exploration, [INPUT], tmp_path / "whole")

    def stop(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore_grid(exploration, [INPUT], tmp_path / "cut", on_point=stop)
    simulated = []
    original = module.measure_point

    def count(exploration, parameters):
        simulated.append(parameters)
        return original(exploration, parameters)

    monkeypatch.setattr(module, "measure_point", count)
    resumed = explore_grid(exploration, [INPUT], tmp_path / "cut")
    assert resumed == whole
    assert simulated == [{"x_ext": 2.0}]
    next((tmp_path / "cut").rglob("*.json")).write_text("{")  # cut off
    assert explore_grid(exploration, [INPUT], tmp_path / "cut") == whole
    assert len(simulated) == 2


def test_other_settings_are_not_taken_from_the_cache(tmp_path):
    first = explore_grid(leaky("max_rate"), [INPUT], tmp_path)
    second = explore_grid(leaky("max_rate", K_gl=0.1), [INPUT], tmp_path)
    assert first[-1].measures["max_rate"] > second[-1].measures["max_rate"] + 0.5


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path):
    exploration = leaky("max_rate", sigma=0.1)
    alone = explore_grid(exploration, [INPUT], tmp_path / "1")
    assert explore_grid(exploration, [INPUT], tmp_path / "2", n_procs=2) == alone


def test_a_diverging_point_is_missing_and_stays_so(tmp_path):
    axis = Axis("tau", -0.01, 10.0, 2)
    with np.errstate(all="ignore"):
        points = explore_grid(leaky("max_rate", x_ext=1.0), [axis], tmp_path)
    again = explore_grid(leaky("max_rate", x_ext=1.0), [axis], tmp_path)
    for pair in (points, again):
        assert np.isnan(pair[0].measures["max_rate"])
        assert np.isfinite(pair[1].measures["max_rate"])


def activity(bold=None, rates=None):
    rates = np.zeros((2, 1)) if rates is None else rates
    bold = np.zeros((0, 1)) if bold is None else bold
    labels = tuple(f"r{k}" for k in range(bold.shape[1]))
    time = 0.001 * np.arange(len(rates))
    return Activity(time, {"x": rates}, "x", np.arange(len(bold)) * 2.0, bold, labels)


def test_the_fit_of_fc_is_that_of_neurolib():
    functions = pytest.importorskip("neurolib.utils.functions")
    rng = np.random.default_rng(0)
    runs = [rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6)) for _ in range(3)]
    subjects = [BrainTarget(np.corrcoef(run.T), np.zeros(1), 2.0) for run in runs[1:]]
    expected = np.mean([
        functions.matrix_correlation(functions.fc(runs[0].T), functions.fc(run.T))
        for run in runs[1:]
    ])  # fmt: skip
    assert fc_fit(activity(runs[0]), subjects) == pytest.approx(expected)
    runs[0][:, 2] = 1.0
    assert np.isnan(fc_fit(activity(runs[0]), subjects))


def test_fc_dynamics_of_the_recording_itself_has_no_distance():
    bold = np.random.default_rng(0).standard_normal((120, 5))
    subjects = read_subjects([[bold]], 2.0)
    assert fcd_distance(activity(bold), subjects) < 0.01  # rounding of scaled series
    constant = [BrainTarget(subjects[0].fc, np.full(9, 0.99), 2.0)]
    assert fcd_distance(activity(bold), constant) == 1
    assert np.isnan(fcd_distance(activity(bold[:40]), subjects))


def test_the_dominant_frequency():
    time = 0.001 * np.arange(2000)
    rates = 5 + np.sin(2 * np.pi * 12 * time)[:, None]
    assert dominant_frequency(activity(rates=rates)) == pytest.approx(12, abs=1)
    assert np.isnan(dominant_frequency(activity(rates=np.ones((2000, 1)))))


def test_the_dataset_gw_is_read():
    subjects = gw_subjects()
    assert [subject.fc.shape for subject in subjects] == [(80, 80)] * 5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: leaky("max_rat"), SettingsError, "did you mean max_rate"),
        (lambda: leaky("fc_fit"), SettingsError, "compares with recordings"),
        (
            lambda: Exploration(ForwardModel(LEAKY, CHAIN), SHORT, ("fc_fit",),
                                (BrainTarget(np.eye(2), np.zeros(1), 2.0),)),
            InputDataError, "has 2 regions and the model 3",
        ),
        (lambda: parse_axes(["a=0:1"], gridded=True), SettingsError, "must be NAME=LOW:HIGH:N"),
        (lambda: parse_axes(["a=1:0:3"], gridded=True), SettingsError, "must be below"),
        (lambda: parse_axes(["a=0:1:1"], gridded=True), SettingsError, "at least 2"),
        (lambda: parse_axes(["a=0:1:3", "a=0:2:3"], gridded=True), SettingsError, "twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_explored_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_unknown_parameter_ends_before_the_first_simulation(tmp_path):
    with pytest.raises(SettingsError, match="no parameter 'speed'"):
        explore_grid(leaky("max_rate"), [Axis("speed", 0, 1, 2)], tmp_path)
