import logging
import threading
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from npi_bids.bids.atlases import AtlasSpec
from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.cli import participant
from npi_bids.cli.execution import Crash
from npi_bids.cli.inputs import add_prior_digest
from npi_bids.cli.participant import choose_exit_code
from npi_bids.cli.run import describe_failures
from npi_bids.errors import ConfigurationError, InputDataError, SettingsError
from npi_bids.io.failures import Failure
from npi_bids.io.files import write_json
from npi_bids.parcellation import volumes
from tests.cli.conftest import request_of


def status(fate, error="", reason=""):
    return UnitStatus({"sub": "01"}, "simple", fate, "x", error=error, reason=reason)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        ([status(DONE), status(EXCLUDED, "NoUsableDataError")], 0),
        ([status(EXCLUDED, "NoUsableDataError")], 4),
        ([status(FAILED, "InputDataError")], 3),
        ([status(FAILED, "InputDataError"), status(FAILED, "NoUsableDataError")], 3),
        ([status(FAILED, "SettingsError")], 2),
        ([status(FAILED, "InputDataError"), status(FAILED, "KeyError")], 1),
        ([status(FAILED, "InputDataError"), status(DONE)], 1),
        ([status(FAILED)], 1),
    ],
)
def test_the_fate_of_all_models_is_one_exit_code(statuses, code):
    assert choose_exit_code(statuses) == code


def task(name, n_regions=20, tr=2.0):
    run = SimpleNamespace(path=name, tr=tr)
    unit = SimpleNamespace(problems=(), runs=(run,))
    return SimpleNamespace(unit=unit, atlas=SimpleNamespace(n_regions=n_regions), name=name)


@pytest.fixture
def narrow(monkeypatch):
    """Return a request with a passband that 200 samples cannot resolve."""
    monkeypatch.setattr(volumes, "count_values", lambda path: (200 if "short" in path else
                                                                   4000, 1))  # fmt: skip
    return request_of("--passband", "0.01", "0.04")


def test_a_passband_too_narrow_for_every_model_ends_the_run_at_once(narrow):
    with pytest.raises(SettingsError, match=r"0\.01 0\.04 is too narrow for TR 2 s"):
        participant.check_tasks_passband([task("short-1"), task("short-2")], narrow)


def test_models_that_could_use_the_passband_are_not_kept_back(narrow, caplog):
    participant.check_tasks_passband([task("short"), task("long")], narrow)
    participant.check_tasks_passband([task("short", tr=0.5), task("short", tr=None)], request_of())
    with caplog.at_level(logging.WARNING, "npi_bids"):
        participant.check_tasks_passband([task("short", n_regions=4)], narrow)
    assert "short: --passband 0.01 0.04 is not used: the model has 4 regions" in caplog.text


def test_the_last_line_names_the_cause_and_does_not_blame_the_group():
    failed = [status(FAILED, "SettingsError", "The band is too narrow.")] * 2
    text = describe_failures(2, 4, failed)
    assert text == (
        "no model could be fitted, because its options cannot be used: The band is too narrow; so "
        "there is no group"
    )
    mixed = [*failed, status(FAILED, reason="Other"), status(DONE)]
    assert describe_failures(1, 0, mixed) == (
        "some models failed: The band is too narrow (others for other reasons)"
    )
    assert "the group level failed, because no usable data" in describe_failures(0, 4, mixed)


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """Return a request whose output dataset holds a map with the atlas in its own template."""
    table = "tpl-MNI152NLin6Asym/anat/tpl-MNI152NLin6Asym_atlas-Power2011_dseg.tsv"
    path = tmp_path / table
    path.parent.mkdir(parents=True)
    path.touch()
    entities = {"sub": "01", "task": "rest", "space": "MNI152NLin2009cAsym"}
    model = SimpleNamespace(
        name="sub-01_task-rest_space-MNI152NLin2009cAsym_atlas-Power2011_desc-simple",
        entities={**entities, "atlas": "Power2011"},
        sidecar=SimpleNamespace(links=SimpleNamespace(node_files=(f"bids::{table}",))),
    )
    monkeypatch.setattr(participant, "find_models", lambda *_, **__: [model])
    unit = SimpleNamespace(entities=entities)

    def check(template, overwrite=False, **changed):
        request = SimpleNamespace(out_dir=tmp_path, output=SimpleNamespace(overwrite=overwrite))
        units = [SimpleNamespace(entities={**unit.entities, **changed})]
        spec = AtlasSpec("Power2011", "Power2011", space=template)
        participant.check_template(request, spec, units, "simple")

    return check


def test_maps_of_an_atlas_in_two_templates_are_not_mixed(mapped):
    with pytest.raises(
        ConfigurationError, match=r"in MNI152NLin6Asym, for example of sub-01.*now"
    ):
        mapped("MNI152NLin2009cAsym", sub="02")


def test_maps_of_the_same_template_or_of_other_images_or_replaced_ones_go_together(mapped):
    mapped("MNI152NLin6Asym", sub="02")
    mapped("MNI152NLin2009cAsym", sub="02", space="MNI152NLin2009aAsym")
    mapped("MNI152NLin2009cAsym", overwrite=True)
    with pytest.raises(ConfigurationError):
        mapped("MNI152NLin2009cAsym", overwrite=True, sub="02")  # that of sub-01 would stay


def test_a_map_of_delays_that_fits_no_atlas_ends_the_run_at_once(tmp_path):
    path = tmp_path / "delays.tsv"
    path.write_text("name\tdelay\nA\t0\nB\t0.5\n")
    fitting, other = (
        SimpleNamespace(atlas=SimpleNamespace(labels=labels))
        for labels in (("A", "B"), ("A", "C"))
    )
    participant.check_known_delays([other], request_of())
    request = request_of("--delay-map", str(path))
    participant.check_known_delays([fitting], request)
    with pytest.raises(InputDataError, match="names regions that the atlas does not have: B"):
        participant.check_known_delays([fitting, other], request)
    with pytest.raises(SettingsError, match="not read with pretrain and --pretrained"):
        participant.check_known_delays(
            [fitting], request_of("--delay-map", str(path), "--pretrained", str(tmp_path))
        )


def test_another_map_of_delays_is_another_configuration(tmp_path):
    path = tmp_path / "delays.tsv"
    configurations = [add_prior_digest(request_of()).analysis.configuration]
    for delay in (0.5, 0.6):
        path.write_text(f"name\tdelay\nA\t0\nB\t{delay}\n")
        request = add_prior_digest(request_of("--delay-map", str(path)))
        configurations.append(request.analysis.configuration)
    assert len(set(configurations)) == 3
    assert configurations[0] == request_of().analysis.configuration
    with pytest.raises(InputDataError, match=r"--delay-map <.*> does not exist"):
        add_prior_digest(request_of("--delay-map", str(tmp_path / "none.tsv")))


@pytest.fixture
def shared_model(tmp_path):
    """Return a request, one of its tasks, and the status that another process writes."""
    request = replace(request_of(), out_dir=tmp_path)
    entities = {"sub": "01", "atlas": "Six"}
    done = UnitStatus(entities, "simple", DONE, request.analysis.configuration)
    return request, SimpleNamespace(entities=entities, desc="simple", name=done.name), done


def test_a_model_that_another_process_is_saving_is_waited_for(shared_model, tmp_path):
    request, task, done = shared_model
    later = threading.Timer(0.5, write_json, (tmp_path / done.path, asdict(done)))
    later.start()
    found = participant.read_outcomes([task], request, tmp_path / "logs/x", {done.name})
    later.join()
    assert [status.status for status in found] == [DONE]


def test_what_was_not_saved_is_not_waited_for(shared_model, tmp_path, monkeypatch):
    request, task, _ = shared_model
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("waits"))
    monkeypatch.setattr(participant, "_find_crash", lambda *_: None)
    (found,) = participant.read_outcomes([task], request, tmp_path / "logs/x", set())
    assert found.status == FAILED
    assert "no reason could be recorded" in found.reason


def test_the_status_of_a_model_finished_meanwhile_is_kept(shared_model, tmp_path):
    request, task, done = shared_model
    for status, overwrite, kept in (
        (done, False, True),
        (done, True, False),
        (replace(done, status=FAILED), False, False),
        (replace(done, files={"missing.tsv": 3}), False, False),
    ):
        write_json(tmp_path / done.path, asdict(status))
        asked = replace(request, output=replace(request.output, overwrite=overwrite))
        participant.remove_statuses([task], asked)
        assert (tmp_path / done.path).is_file() == kept


def test_a_failure_of_the_input_is_recorded_until_the_input_changes(
    shared_model, tmp_path, monkeypatch
):
    request, task, _ = shared_model
    failure = Failure("InputDataError", 3, "it cannot be read", on_purpose=True)
    crash = Crash("node", failure, tmp_path / "crash.txt")
    monkeypatch.setattr(participant, "_find_crash", lambda *_: crash)
    files = [tmp_path / name for name in ("series.tsv", "prior.safetensors", "prior.json")]
    for path in files:
        path.write_text("first")
    task.unit = SimpleNamespace(runs=(SimpleNamespace(files=files[:1], tr=2.0),))
    task.atlas = SimpleNamespace(folder=tmp_path)

    def inputs(pretrained):
        task.pretrained = pretrained
        return participant.read_outcomes([task], request, tmp_path, set())[0].inputs

    digests = [inputs(""), inputs(""), inputs(str(files[1]))]
    for path in files:
        path.write_text("second")
        digests.append(inputs(str(files[1])))
    assert all(digests)
    assert digests[0] == digests[1]
    assert len(set(digests)) == len(digests) - 1


def test_only_the_series_of_complete_models_stay_in_the_work_folder(tmp_path):
    names = ("parcellate_1_wf/extract/timeseries.tsv", "ec_wf/train/surrogate", "save_model/_x")
    for label in ("01", "02"):
        for name in names:
            path = tmp_path / f"sub_{label}_wf" / f"sub_{label}_task" / name
            path.parent.mkdir(parents=True)
            path.touch()
    complete = SimpleNamespace(entities={"sub": "01"}, node_name="sub_01_task")
    missing = SimpleNamespace(entities={"sub": "03"}, node_name="sub_03_task")
    participant.remove_intermediate(tmp_path, [complete, missing])
    left = sorted(p.relative_to(tmp_path).parts[2] for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["ec_wf", "parcellate_1_wf", "parcellate_1_wf", "save_model"]
    assert (tmp_path / "sub_01_wf/sub_01_task" / names[0]).is_file()
    assert not (tmp_path / "sub_01_wf/sub_01_task/ec_wf").exists()
