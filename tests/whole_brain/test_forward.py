"""Forward simulation of neural mass models, and stimuli."""

import numpy as np
import pytest

from npi_bids.errors import InputDataError, SettingsError, SurrogateError
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.forward import (
    MODEL_CLASSES,
    ForwardModel,
    ForwardSettings,
    load_model_class,
    simulate_model,
)
from npi_bids.whole_brain.stimuli import read_stimulus

pytest.importorskip("neurolib")
LEAKY = "tests.whole_brain.toy_model:LeakyModel"
WEIGHTS = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.0]])
CHAIN = Connectome(WEIGHTS, np.zeros((3, 3)), ("A", "B", "C"))


def leaky(**parameters):
    return ForwardModel(LEAKY, CHAIN, parameters)


def test_activity_settles_where_theory_says_and_flows_from_source_to_target():
    stimulus = read_stimulus("step:amplitude=2,regions=A")
    result = simulate_model(leaky(), ForwardSettings(seconds=0.5), seed=1, stimulus=stimulus)
    expected = np.linalg.solve(np.eye(3) - 0.5 * WEIGHTS.T, [2.0, 0.0, 0.0])
    np.testing.assert_allclose(result.activity[-1], expected, rtol=1e-6)
    assert expected[1] == 1.0  # A drives B; the other way round, B would stay at 0
    assert result.labels == ("A", "B", "C")


def test_chunks_continue_each_other():
    stimulus = read_stimulus("ramp:amplitude=1,start=1.9,end=2.1,regions=A")
    settings = ForwardSettings(seconds=2.5)
    result = simulate_model(leaky(tau=1.0), settings, seed=1, stimulus=stimulus)
    assert len(result.time) == 2500
    np.testing.assert_allclose(np.diff(result.time), 1e-3)
    # With a time constant of one step, activity is the input of the same step.
    np.testing.assert_allclose(result.activity[1999, 0], 0.4975, atol=1e-6)
    np.testing.assert_allclose(result.activity[2050, 0], 0.7525, atol=1e-6)
    assert result.activity[2101:, 0].max() == 0


def test_noise_differs_between_chunks_and_depends_on_the_seed_alone():
    settings = ForwardSettings(seconds=4.0)
    model = leaky(sigma=0.1)
    result = simulate_model(model, settings, seed=3)
    # After 500 ms the initial state is forgotten; the same noise would give the same activity.
    assert np.abs(result.activity[500:2000] - result.activity[2500:]).max() > 0.01
    again = simulate_model(model, settings, seed=3)
    np.testing.assert_array_equal(result.activity, again.activity)
    assert (simulate_model(model, settings, seed=4).activity != result.activity).any()


def test_the_start_is_discarded_and_samples_are_averaged():
    stimulus = read_stimulus("square:amplitude=1,frequency=50,regions=A")
    settings = ForwardSettings(seconds=0.1, discard=0.1, sampling=10)
    result = simulate_model(leaky(tau=1.0), settings, seed=0, stimulus=stimulus)
    np.testing.assert_allclose(result.time, 0.11 + 0.01 * np.arange(10))
    np.testing.assert_allclose(result.activity[:, 0], [1.0, -1.0] * 5)


def test_bold_rises_after_the_stimulus_of_its_region():
    stimulus = read_stimulus("step:amplitude=5,start=1,end=2,regions=A")
    settings = ForwardSettings(seconds=12.0, sampling=100)
    result = simulate_model(
        leaky(K_gl=0.0), settings, seed=0, tr=0.5, stimulus=stimulus
    )  # fmt: skip
    assert result.bold.shape == (24, 3)
    np.testing.assert_array_equal(result.bold[:, 1], result.bold[:, 2])
    effect = result.bold[:, 0] - result.bold[:, 1]
    assert np.abs(effect[:2]).max() < 1e-9  # until 1 s
    assert 3.0 < result.bold_time[effect.argmax()] < 8.0


def test_a_single_node_needs_no_connectome():
    result = simulate_model(ForwardModel(LEAKY), ForwardSettings(seconds=0.01), seed=0)
    assert result.outputs["x"].shape == (10, 1)


def test_a_model_of_the_user_may_be_a_file():
    path = f"{__file__.replace('test_forward', 'toy_model')}:LeakyModel"
    result = simulate_model(ForwardModel(path), ForwardSettings(seconds=0.01), seed=0)
    assert result.outputs["x"].shape == (10, 1)


@pytest.mark.parametrize("name", MODEL_CLASSES)
def test_all_models_of_neurolib_are_at_hand(name):
    model = ForwardModel(name).create(1)
    assert model.default_output in model.output_vars


def test_the_coupling_of_aln_has_the_name_of_that_of_the_others():
    model = ForwardModel("aln", None, {"K_gl": 123.0, "mue_ext_mean": 1.57}).create(1)
    assert (model.params["Ke_gl"], model.params["mue_ext_mean"]) == (123.0, 1.57)


def test_whole_numbers_stay_whole():
    assert ForwardModel(LEAKY, None, {"switch": 0.0}).create(1).params["switch"] == 0
    assert isinstance(ForwardModel(LEAKY, None, {"switch": 0.0}).create(1).params["switch"], int)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_CLASSES)
def test_neurolib_in_chunks(name):
    settings = ForwardSettings(seconds=2.1, sampling=10)
    result = simulate_model(ForwardModel(name), settings, seed=1, tr=0.5)
    assert result.activity.shape == (210, 1)
    assert np.isfinite(result.bold).all()
    again = simulate_model(ForwardModel(name), settings, seed=1, tr=0.5)
    np.testing.assert_array_equal(result.activity, again.activity)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aln", "hopf", "wc", "fhn"])
def test_a_stimulus_reaches_its_region_and_then_its_targets(name):
    model = ForwardModel(name, CHAIN)
    settings = ForwardSettings(seconds=0.4)
    stimulus = read_stimulus("step:amplitude=0.5,start=0.2,regions=B")
    plain = simulate_model(model, settings, seed=1)
    stimulated = simulate_model(model, settings, seed=1, stimulus=stimulus)
    effect = np.abs(stimulated.activity - plain.activity)
    assert effect[:199].max() == 0
    assert effect[:, 0].max() == 0
    assert effect[210, 1] > 0
    assert effect[:, 2].max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leaky(K_global=1.0).create(0), "no parameter 'K_global'.*mean K_gl"),
        (lambda: leaky(duration=1.0).create(0), "follows from the connectome"),
        (lambda: leaky(Cmat=1.0).create(0), "follows from the connectome"),
        (lambda: load_model_class("hpf"), "did you mean hopf"),
        (lambda: load_model_class("no_such_package.x:Model"), "cannot be imported"),
        (lambda: load_model_class("no_such_file.py:Model"), "cannot be imported"),
        (lambda: load_model_class("tests.whole_brain.toy_model:Other"), "has no class Other"),
        (lambda: ForwardModel("thalamus", CHAIN).create(0), "is a single node"),
        (lambda: simulate_model(leaky(), ForwardSettings(sampling=0.3), seed=0), "multiple"),
        (lambda: simulate_model(leaky(), ForwardSettings(sampling=3), seed=0), "must divide 2 s"),
        (lambda: simulate_model(leaky(), ForwardSettings(), seed=0, tr=0.0005), "of 1 ms"),
        (
            lambda: simulate_model(ForwardModel("ww"), ForwardSettings(), seed=0,
                                   stimulus=read_stimulus("step:amplitude=1")),
            "no input over time",
        ),
        (
            lambda: simulate_model(leaky(), ForwardSettings(), seed=0,
                                   stimulus=read_stimulus("step:amplitude=1,regions=D")),
            "names D, which the model does not have",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_simulated_is_refused(call, message):
    with pytest.raises(SettingsError, match=message):
        call()


def test_a_diverging_model_is_named_with_its_parameters():
    with (
        np.errstate(all="ignore"),
        pytest.raises(SurrogateError, match=r"diverged with tau -0.01"),
    ):
        simulate_model(leaky(tau=-0.01), ForwardSettings(), seed=0,
                       stimulus=read_stimulus("step:amplitude=1"))  # fmt: skip


def test_a_table_holds_until_its_next_row(tmp_path):
    path = tmp_path / "stimulus.tsv"
    path.write_text("time\tC\n0.1\t1\n0.2\t-2\n")
    values = read_stimulus(str(path)).values(np.array([0.0, 0.1, 0.19, 0.2, 9.0]), ("A", "C"))
    np.testing.assert_array_equal(values, [[0] * 5, [0, 1, 1, -2, -2]])


def test_a_sine_has_its_frequency_and_ends():
    values = read_stimulus("sine:amplitude=3,frequency=2,start=1,end=2").values(
        np.array([0.5, 1.125, 1.375, 2.0]), ("A",)
    )
    np.testing.assert_allclose(values, [[0, 3, -3, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpe:amplitude=1", "did you mean step"),
        ("step:start=1", "no amplitude"),
        ("step:amplitude=a", "must be a number"),
        ("step:amplitude=1,stop=2", "'stop' is unknown"),
        ("sine:amplitude=1", "needs a frequency"),
        ("step:amplitude=1,frequency=2", "a step has no frequency"),
        ("ramp:amplitude=1", "needs an end"),
        ("step:amplitude=1,start=2,end=1", "ends before it starts"),
    ],
)
def test_a_stimulus_that_cannot_be_read_is_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        read_stimulus(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds\tA\n0\t1\n", "no column time"),
        ("time\tA\n1\t1\n0\t2\n", "must increase"),
        ("time\tA\n0\tn/a\n", "finite"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    path = tmp_path / "stimulus.tsv"
    path.write_text(text)
    with pytest.raises(InputDataError, match=message):
        read_stimulus(str(path))
