"""The recipes of CONTRIBUTING: what is added in one place is available everywhere.

``tests/surrogates/toy_family.py`` follows the recipe of a surrogate, and
``tests/end_to_end/test_recipes.py`` that of a figure.
"""

import dataclasses
import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from npi_bids.assessment.settings import AssessSettings
from npi_bids.bids import outputs
from npi_bids.bids.atlases import atlas_description, parse_atlas
from npi_bids.bids.description import descriptions
from npi_bids.bids.outputs import (
    CATALOGUE,
    CONTRAST_OUTPUTS,
    GROUP_OUTPUTS,
    MODEL,
    Output,
    output_path,
    output_pattern,
    parse_name,
)
from npi_bids.bids.sidecars import matrix_fields
from npi_bids.cli import simulate as command
from npi_bids.cli.atlases import prepare_atlas
from npi_bids.cli.parser import build_parser
from npi_bids.connectivity import measures
from npi_bids.connectivity.settings import MEASURE_NAMES, MeasureSettings, PerturbSettings
from npi_bids.group.description import MapDescription, describe_maps
from npi_bids.group.permutation import Permuted, permute
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.inference import ec_of_runs
from npi_bids.interfaces import group
from npi_bids.interfaces.group import DescribeGroup
from npi_bids.io.files import read_json
from npi_bids.io.tables import read_matrix
from npi_bids.parcellation.atlas_table import read_atlas_table
from npi_bids.parcellation.atlases import sphere_atlases
from npi_bids.parcellation.confounds import load_confounds
from npi_bids.parcellation.denoising import STRATEGIES, DenoiseSettings
from npi_bids.reports.page import bibliography
from npi_bids.simulate import systems
from npi_bids.simulate.systems import Simulation
from npi_bids.surrogates.base import TrainSettings
from tests.conftest import tiny_parcellation, write_atlas
from tests.interfaces.conftest import group_inputs, group_rows, write_dataset

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = {
    "Name": "Four blocks",
    "License": "CC0-1.0",
    "Species": "Human",
    "ReferencesAndLinks": ["https://example.org/blocks"],
    "space": "MNI152NLin6Asym",
    "about": "4 regions",
    "source": "a folder",
    "cite": "Blocks2026",
    "bibtex": ["@misc{Blocks2026,", "  title = {Four blocks}", "}"],
}


def test_a_simulator_in_the_list_is_a_word_of_the_command(monkeypatch, tmp_path):
    def ring(settings, n_runs, n_samples):
        truth = np.roll(np.eye(settings.n_regions), 1, axis=1)
        noise = np.random.default_rng(0).standard_normal((n_runs, n_samples, settings.n_regions))
        labels = tuple(f"R{region}" for region in range(settings.n_regions))
        return Simulation(noise, truth, "ones", labels, 2.0)

    monkeypatch.setitem(systems.SYSTEMS, "ring", ring)
    argv = ["ring", str(tmp_path / "out"), "--series-only", "--n-regions", "4", "--minutes", "3",
             "--n-subjects", "1", "--n-runs", "1"]  # fmt: skip
    assert command.main(argv) == 0
    truth = read_matrix(tmp_path / "out" / "desc-truth_relmat.tsv").matrix
    assert truth[0, 1] == 1 > truth[1, 0]


def test_an_entity_in_the_list_is_read_and_written(monkeypatch):
    name = "sub-1_task-rest_wet-water_bold.nii.gz"
    with pytest.raises(Exception, match="wet"):
        outputs.join_entities(dict(parse_name(name).entities))
    order = outputs.ENTITY_ORDER
    index = order.index("rec")
    monkeypatch.setattr(outputs, "ENTITY_ORDER", (*order[:index], "wet", *order[index:]))
    assert outputs.join_entities(dict(parse_name(name).entities)) == "sub-1_task-rest_wet-water"


def test_a_measure_is_a_function_and_an_output(monkeypatch, run):
    twice = "twicecorrelation"
    output = dataclasses.replace(CATALOGUE["partialcorrelation"], name=twice, measure=twice)
    monkeypatch.setattr(outputs, "CATALOGUE", {**CATALOGUE, twice: output})
    free = measures.model_free_measures()
    monkeypatch.setitem(MEASURE_NAMES, "twice", twice)
    monkeypatch.setattr("npi_bids.inference.model_free_measures",
                        lambda: {**free, "twice": lambda runs, _: 2 * np.eye(4)})  # fmt: skip
    settings = object.__new__(MeasureSettings)  # whose choices were read when it was defined
    for field in dataclasses.fields(MeasureSettings):
        value = ("npi", "twice") if field.name == "measures" else field.default
        object.__setattr__(settings, field.name, value)
    result = ec_of_runs(
        [run], train=TrainSettings(surrogate="var"), perturb=PerturbSettings(),
        assess=AssessSettings(measures=settings),
    )  # fmt: skip
    np.testing.assert_array_equal(result.measures[twice].matrix, 2 * np.eye(4))
    path = output_path(twice, {"sub": "1", "task": "rest", "atlas": "X"}, "simple")
    assert path.name == "sub-1_task-rest_atlas-X_meas-twicecorrelation_desc-simple_relmat.tsv"


def test_a_denoising_strategy_is_a_table(monkeypatch, tmp_path, tiny):
    monkeypatch.setitem(STRATEGIES, "6P", {"components": ["motion"], "motion": "basic"})
    path = tmp_path / "my6P.toml"
    path.write_text('components = ["motion"]\nmotion = "basic"\n')
    six = {f"{movement}_{axis}" for movement in ("trans", "rot") for axis in "xyz"}
    for name in ("6P", str(path)):
        confounds = load_confounds(
            tiny.file("sub-01/func/*confounds*.tsv"), n_samples=260, tr=2.0,
            strategy=DenoiseSettings(denoise=name).strategy, dummy_scans="auto",
        )  # fmt: skip
        assert set(confounds.regressors) == six


def test_the_help_names_every_denoising_strategy():
    text = build_parser().format_help()
    listed = text[text.index("denoising strategy:") : text.index("or a TOML file")]
    assert all(name in listed for name in STRATEGIES)


@pytest.fixture
def blocks(monkeypatch, tmp_path):
    """Add an atlas to the table, and its file to the cache."""
    row = {**BLOCKS, "download": {"file": "blocks/blocks.nii.gz", "url": "", "sha256": "",
                                  "notice": "CC0"}}  # fmt: skip
    table = {**read_atlas_table(), "Blocks": row}
    (tmp_path / "atlases.json").write_text(json.dumps(table))
    monkeypatch.setattr("npi_bids.parcellation.atlas_table.files", lambda _: tmp_path)
    cache = tmp_path / "cache"
    (cache / "blocks").mkdir(parents=True)
    write_atlas(cache / "blocks", tiny_parcellation(), "blocks")
    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.setenv(name, str(cache))


def test_an_atlas_in_the_table_is_listed_and_described(blocks, capsys):
    with pytest.raises(SystemExit):
        build_parser().read(["--list-atlases"])
    assert "Blocks         4 regions; a folder" in capsys.readouterr().out
    description = atlas_description(parse_atlas("blocks"))
    assert description["License"] == "CC0-1.0"
    assert not {"bibtex", "cite", "about"} & set(description)
    assert bibliography("[@Blocks2026]") == "@misc{Blocks2026,\n  title = {Four blocks}\n}\n"


def test_an_atlas_in_the_table_is_loaded_from_the_cache(blocks, tmp_path):
    prepared = prepare_atlas(parse_atlas("blocks"), tmp_path / "prepared", offline=True)
    assert (prepared.entities, prepared.n_regions) == ({"atlas": "Blocks"}, 4)


def test_every_atlas_of_the_table_can_be_loaded():
    for name, entry in read_atlas_table().items():
        sources = {"nilearn", "download", "dataset", "spheres"} & set(entry)
        assert len(sources) == 1, name
        assert ("spheres" in entry) == (name in sphere_atlases())


@pytest.fixture
def spread(monkeypatch):
    """Add a matrix of a model to the catalogue."""
    output = Output(
        name="npispread", level=MODEL, measure="npispread", variant="Spread", units="SD",
        what="Spread of effective connectivity over runs", relation="effective connectivity",
        method="Largest less smallest entry.", bounds=(0, None),
    )  # fmt: skip
    monkeypatch.setitem(CATALOGUE, "npispread", output)


def test_an_output_of_the_catalogue_has_a_name_and_matches_its_pattern(spread, tmp_path):
    path = output_path("npispread", {"sub": "1", "task": "rest", "atlas": "X"}, "simple")
    name = "sub-1_task-rest_atlas-X_meas-npispread_desc-simpleSpread_relmat.tsv"
    assert path.as_posix() == f"sub-1/func/{name}"
    (tmp_path / path.parent).mkdir(parents=True)
    (tmp_path / path).touch()
    assert list(tmp_path.glob(output_pattern("npispread"))) == [tmp_path / path]


def test_an_output_of_the_catalogue_has_a_sidecar(spread):
    fields = matrix_fields("npispread")
    assert fields.description == "Spread of effective connectivity over runs."
    assert (fields.measure_units, fields.minimum, fields.non_negative) == ("SD", 0, True)


def test_an_output_of_the_catalogue_is_described_in_the_dataset_and_in_the_documentation(
    spread, tmp_path
):
    rows = descriptions(tmp_path, {"simple": "24 motion parameters"}, planned=["npispread"])
    text = "Spread of effective connectivity over runs"
    assert f"desc-simpleSpread\t{text}. 24 motion parameters." in rows.splitlines()
    update_tables = runpy.run_path(str(DOCS / "tables.py"))["update_tables"]
    page = update_tables((DOCS / "outputs.md").read_text())
    name = "sub-X/func/..._meas-npispread_desc-DSpread_relmat.tsv"
    assert f"| `{name}` | model | {text} | SD |" in page.splitlines()


@dataclass(frozen=True, slots=True, eq=False)
class DescriptionWithLargest(MapDescription):
    largest: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PermutedWithShare(Permuted):
    share: np.ndarray | None = None


def values_of(record):
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def describe_with_largest(maps, tested, weighing):
    largest = np.asarray(maps).max(axis=0)
    return DescriptionWithLargest(
        **values_of(describe_maps(maps, tested, weighing)), largest=largest
    )


def permute_with_share(*args, **options):
    permuted = permute(*args, **options)
    return PermutedWithShare(**values_of(permuted), share=2 * permuted.p)


@pytest.fixture
def described(monkeypatch, tmp_path):
    """Describe a group with one statistic more than usual."""
    largest = dataclasses.replace(
        CATALOGUE["groupmedian"], name="grouplargest", variant="Grouplargest", value="largest",
        what="Largest value over subjects",
    )  # fmt: skip
    monkeypatch.setitem(CATALOGUE, largest.name, largest)
    monkeypatch.setattr("npi_bids.group.description.GROUP_OUTPUTS", (*GROUP_OUTPUTS, largest.name))
    monkeypatch.setattr("npi_bids.group.analysis.describe_maps", describe_with_largest)
    inputs = group_inputs(write_dataset(tmp_path / "out"))
    settings = dataclasses.asdict(GroupSettings(min_subjects=2))
    (tmp_path / "describe").mkdir()
    node = DescribeGroup(settings=settings, rows=group_rows(), **inputs)
    return inputs, node.run(cwd=str(tmp_path / "describe")).outputs


def read_result(files, ending):
    path = next(Path(file) for file in files if file.endswith(f"{ending}_relmat.tsv"))
    return read_matrix(path).matrix, read_json(path.with_suffix(".json"))


def test_a_field_of_the_description_is_written_by_the_group_level(described):
    matrix, sidecar = read_result(described[1].files, "Grouplargest")
    assert (matrix[0, 1], matrix[1, 0]) == (0.9, 0)
    assert sidecar["Description"].startswith("Largest value over subjects")


def test_a_field_of_the_permutations_is_written_by_the_group_level(
    described, monkeypatch, tmp_path
):
    share = dataclasses.replace(
        CATALOGUE["modelpermuted"], name="modelshare", variant="Share", value="share"
    )
    monkeypatch.setitem(CATALOGUE, share.name, share)
    monkeypatch.setattr(
        "npi_bids.group.inference.CONTRAST_OUTPUTS", (*CONTRAST_OUTPUTS, share.name)
    )
    monkeypatch.setattr("npi_bids.group.inference.permute", permute_with_share)
    inputs, description = described
    model = ModelSettings(formula="age", motion_covariate=False)
    (tmp_path / "test").mkdir()
    node = group.TestGroup(
        maps=description.maps, rows=group_rows(), model=dataclasses.asdict(model),
        permute=dataclasses.asdict(PermuteSettings(n_permutations=5)), **inputs,
    )  # fmt: skip
    files = node.run(cwd=str(tmp_path / "test")).outputs.files
    doubled, sidecar = read_result(files, "TestAgeShare")
    p, _ = read_result(files, "TestAgePermuted")
    np.testing.assert_allclose(doubled[0, 1], 2 * p[0, 1])
    assert (sidecar["Minimum"], sidecar["Maximum"]) == (0, 1)
