"""Files of the posterior of one subject."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids import __version__
from npi_bids.bids.sidecars import PosteriorFields
from npi_bids.inverse.calibration import LEVELS, Calibration
from npi_bids.inverse.inference import SubjectPosterior, TrainedInference, summarise_posterior
from npi_bids.io.tables import write_matrix, write_table
from npi_bids.records import ECResult, Mask
from npi_bids.surrogates.windows import expand_to_atlas

FIELDS_FILE = "inference.json"
_PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "sbi")


def write_posterior(
    posterior: SubjectPosterior,
    trained: TrainedInference,
    folder: Path,
    *,
    labels: Sequence[str],
    covered: Mask,
    sc: str,
) -> list[Path]:
    """Write the posterior of a subject into a folder.

    Parameters
    ----------
    posterior
        The posterior.
    trained
        How it was inferred.
    folder
        Output folder.
    labels
        Names of all regions of the atlas.
    covered
        Shape (n_atlas_regions,); which of them are in the model.
    sc
        Name of the table of structural connectivity.

    Returns
    -------
    list of Path
        ``parameters.tsv``, ``posterior.tsv``, ``predictedfc.tsv``, ``calibration.tsv``,
        ``ranks.tsv``. ``inference.json`` holds the fields of their sidecars.
    """
    parameters = posterior.prior.parameters
    table = pd.DataFrame(dict(summarise_posterior(posterior)))
    table["units"] = [parameter.units or None for parameter in parameters]
    table["meaning"] = [parameter.meaning for parameter in parameters]
    tables = {
        "parameters": table,
        "posterior": pd.DataFrame(posterior.samples, columns=list(posterior.prior.names)),
        "calibration": calibration_table(trained.calibration),
        "ranks": ranks_table(trained.calibration),
    }
    for name, content in tables.items():
        write_table(content, folder / f"{name}.tsv")
    predicted = ECResult(expand_to_atlas(posterior.predicted_fc, covered), tuple(labels))
    write_matrix(predicted, folder / "predictedfc.tsv")
    describe_inference(posterior, trained, sc).write(folder / FIELDS_FILE)
    return [folder / f"{name}.tsv" for name in (*tables, "predictedfc")]


def calibration_table(calibration: Calibration) -> pd.DataFrame:
    """Return one row per parameter."""
    rows = []
    for parameter in calibration.parameters:
        coverage = {
            f"coverage{100 * level:g}": share
            for level, share in zip(LEVELS, parameter.coverage, strict=True)
        }
        rows.append({
            "name": parameter.name, **coverage, "sbc_p": parameter.sbc_p, "r2": parameter.r2,
            "r2_ridge": parameter.r2_ridge, "r2_best_fc": parameter.r2_best_fc,
            "contraction": parameter.contraction, "identification": parameter.verdict,
        })  # fmt: skip
    return pd.DataFrame(rows)


def ranks_table(calibration: Calibration) -> pd.DataFrame:
    """Return one row per held-out simulated subject; ``tarp`` is the credibility of TARP."""
    names = [parameter.name for parameter in calibration.parameters]
    return pd.DataFrame(calibration.ranks, columns=names).assign(tarp=calibration.tarp)


def describe_inference(
    posterior: SubjectPosterior, trained: TrainedInference, sc: str
) -> PosteriorFields:
    """Return the fields of the sidecar of a posterior."""
    experiment, position = trained.experiment, posterior.position
    losses = np.array(trained.ensemble.losses)
    return PosteriorFields(
        model=experiment.model_name,
        model_description=experiment.model.summary,
        observation=experiment.observation.name,
        position=position.label,
        position_p=position.p,
        position_statistics=position.statistics,
        position_typical=position.typical,
        extreme_features=position.features,
        predicted_fc_r=posterior.fc_r,
        best_fc_r=posterior.best_fc_r,
        simulations_close_in_fc=posterior.n_close_fc,
        number_of_simulations=len(trained.simulations),
        number_held_out=trained.calibration.n_subjects,
        flows=len(trained.ensemble.members),
        flows_dropped=len(losses) - len(trained.ensemble.members),
        tarp_p=trained.calibration.tarp_p,
        features=trained.used_features,
        structural_connectivity=sc,
        simulation_hash=experiment.digest(),
        seed=experiment.seed,
        software_versions={
            "npi-bids": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
    )
