"""The check of registration: what of it a page shows, and why the rest is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.bids.derivatives import sibling
from npi_bids.bids.sidecars import RunSidecar
from npi_bids.group.tables import least_coverage
from npi_bids.io.region_tables import Regions
from npi_bids.records import Array, Mask
from npi_bids.reports import cortex
from npi_bids.reports.brain_figures import (
    atlas_images,
    find_label_image,
    name_mesh,
    place_on_cortex,
    region_values,
    why_not_drawn,
)
from npi_bids.reports.components import Figure
from npi_bids.reports.cortex import RegionLayer
from npi_bids.reports.figures_slices import draw_registration
from npi_bids.wording import count_noun, join_items

Runs = Sequence[tuple[Path, RunSidecar]]

_MOST_CHECKED = 4  # runs whose registration is on the page; others are files
_MOST_NAMED = 20  # regions whose coverage is written out
_FULL = 0.95  # coverage that need not be told region by region


@dataclass(frozen=True, slots=True, eq=False)
class RegistrationCheck:
    """What is known of where regions lie in the runs of a model.

    Attributes
    ----------
    regions
        Table of the regions of the atlas.
    runs
        Regional signals of each run, with their sidecars.
    space
        Space of the images.
    coverage
        Table of the coverage of the regions, one per run.
    """

    regions: Regions
    runs: Runs
    space: str
    coverage: Sequence[pd.DataFrame]

    @property
    def in_template(self) -> bool:
        """Whether the images are in MNI space, of which there is a template to compare with."""
        return self.space.startswith("MNI")

    @property
    def has_images(self) -> bool:
        """Whether signals were read from images, not from regional series."""
        return any(table["coverage"].notna().any() for table in self.coverage)

    @property
    def is_grey(self) -> bool:
        """Whether the atlas consists of greyordinates."""
        return any(path.name.endswith(".dlabel.nii") for path in atlas_images(self.regions))

    def means(self) -> list[Path | None]:
        """Return the mean volume of each run, where there is one."""
        paths = [sibling(path, "timeseries", "mean") for path, _ in self.runs]
        return [path if path.is_file() else None for path in paths]

    def least(self) -> Array:
        """Return the least coverage of each region of the map over the runs."""
        names = self.coverage[0]["name"].astype(str).tolist()
        least = dict(zip(names, least_coverage(self.coverage).tolist(), strict=True))
        return np.array([least.get(label, np.nan) for label in self.regions.labels])

    def figures(self) -> list[Figure]:
        """Return outlines on the mean of each run, or coverage on the cortex."""
        if self.is_grey:
            return self._draw_coverage()
        labels = find_label_image(self.regions)
        if labels is None:
            return []
        numbered = enumerate(zip(self.runs, self.means(), strict=True), start=1)
        return [self._draw_run(number, run[1], mean, labels)
                for number, (run, mean) in numbered if mean is not None]  # fmt: skip

    def explain(self) -> str:
        """Say what is shown of the registration, and why no more."""
        if not self.has_images:
            return (
                "Not shown: the input was regional series, without images. Look at the reports of "
                "the program that extracted them."
            )
        if self.is_grey:
            return self._explain_greyordinates()
        if find_label_image(self.regions) is None:
            return (
                "Not shown: the output dataset holds no image of labels of this atlas"
                f"{' (its regions are probabilistic)' if self._is_probabilistic() else ''}, so "
                f"that there are no outlines to draw. {self._describe_coverage()}"
            )
        absent = sum(mean is None for mean in self.means())
        missing = "" if not absent else (
            f" {count_noun(absent, 'run')} {'has' if absent == 1 else 'have'} no mean volume in "
            "the output dataset and cannot be shown; analyse the subject again."
        )  # fmt: skip
        where = (
            "in turn with the MNI152 template" if self.in_template else
            f"in its own space ({self.space}), for which there is no template to compare with"
        )  # fmt: skip
        return (
            f"The outlines of the regions are drawn on the mean of each run, {where}. "
            f"{self._describe_coverage()}{missing}"
        )

    def _explain_greyordinates(self) -> str:
        vertices = place_on_cortex(self.regions)
        drawn = (
            f"their coverage is drawn on {name_mesh(vertices)}" if vertices is not None else
            f"their coverage is not drawn, because {why_not_drawn(self.regions)}"
        )  # fmt: skip
        return (
            f"The input was greyordinates ({self.space}), which have no volume to draw outlines "
            "on: run and atlas were matched vertex by vertex and voxel by voxel, on surfaces with "
            f"the same number of vertices, and {drawn}. {self._describe_coverage()} Whether the "
            "surfaces fit the brain is shown by the reports of the preprocessing."
        )

    def _describe_coverage(self) -> str:
        """Say how well regions are covered, by name where it is not by nearly all of them."""
        least = self.least()
        known = np.isfinite(least)
        if not known.any():
            return "The coverage of the regions is not known."
        pairs = zip(least.tolist(), self.regions.labels, strict=True)
        low = sorted((share, label) for share, label in pairs if share < _FULL)
        ends = dict.fromkeys(f"{share:.0%}" for share in (least[known].min(), least[known].max()))
        text = (
            f"Coverage of {count_noun(int(known.sum()), 'region')}: "
            f"{' to '.join(ends)} of their size"
        )
        if not low:
            return f"{text}."
        listed = join_items((f"{label} {share:.0%}" for share, label in low),
                            most=_MOST_NAMED)  # fmt: skip
        return f"{text}; below {_FULL:.0%}: {listed}."

    def _is_probabilistic(self) -> bool:
        stem = self.regions.path.name.removesuffix("_dseg.tsv")
        return any(self.regions.path.parent.glob(f"{stem}*_probseg.nii.gz"))

    def _covered(self, sidecar: RunSidecar) -> Mask:
        lost = set(sidecar.regions_not_covered)
        return np.array([label not in lost for label in self.regions.labels])

    def _draw_run(self, number: int, sidecar: RunSidecar, mean: Path, labels: Path) -> Figure:
        covered = self._covered(sidecar)
        several = len(self.runs) > 1
        title = f"Registration, run {number}" if several else "Registration"
        caption = "Outlines of the regions on the mean of the run"
        caption += (
            ", in turn with the MNI152 template: do outlines follow the brain, and do ventricles "
            "and edges stay in place?" if self.in_template else
            f" in its own space ({self.space}): do outlines follow the brain? There is no "
            "template to compare with."
        )  # fmt: skip
        caption += (
            f" {int(covered.sum())} of {len(covered)} regions are covered; outlines of the others "
            "are orange. Left is left."
        )
        if self.in_template:
            caption += " Pointing at the figure stops the flicker."
        return Figure(
            f"registration{number}" if several else "registration",
            title,
            caption,
            draw_registration(mean, labels, np.array(region_values(self.regions)), covered,
                              in_template=self.in_template),
            "Slices of the mean of the run with the outlines of the regions",
            wide=True,
            linked=number > _MOST_CHECKED,
        )  # fmt: skip

    def _draw_coverage(self) -> list[Figure]:
        """Return the coverage of regions of greyordinates on the cortex, where it is at hand."""
        vertices, least = place_on_cortex(self.regions), self.least()
        if vertices is None or not np.isfinite(least).any():
            return []
        layer = RegionLayer("coverage", "Coverage", least, signed=False, limit=1.0)
        caption = (
            f"Fraction of the greyordinates of each region with signal, minimum over runs, on "
            f"{name_mesh(vertices)}: is signal lost where it usually is (orbitofrontal and "
            "temporal cortex), or in one hemisphere? Grey: n/a."
        )
        return [Figure("registration", "Coverage on the cortex", caption,
                       cortex.draw_cortex(vertices, layer),
                       "Cortical surface with regions coloured by their coverage")]  # fmt: skip
