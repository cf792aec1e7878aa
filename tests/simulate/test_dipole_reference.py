"""The shipped kernels of the current dipole moment, computed again where LFPykernels is installed.

Needs LFPykernels, NEURON and a compiler for the mechanism of the synapses, which are no
requirements of npi-bids: ``pip install LFPykernels LFPy``.
"""

import shutil
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, truncnorm

from npi_bids.io.tables import read_table

STEP, LONGEST = 1 / 16, 100  # ms
POPULATIONS = "EI"
# Indexed [source, target], from Hagen et al. (2022).
WEIGHTS = ((0.00015, 0.000125), (0.0045, 0.002))
SYNAPSES = ((2.0, 0.4), (2.0, 0.6)), ((5.0, 0.9), (5.0, 1.1))  # per pair: mean, SD, from 1 or 10
DELAYS = ((1.5, 0.3), (1.4, 0.4)), ((1.3, 0.5), (1.2, 0.6))
COURSES = ({"tau1": 0.2, "tau2": 1.8, "e": 0.0}, {"tau1": 0.1, "tau2": 9.0, "e": -80.0})
DENDRITES, ALL = ["apic", "dend"], ["soma", "apic", "dend"]
HEIGHTS = (((DENDRITES, (0.0, 500.0), (0.5, 1.0)), (DENDRITES, (50.0,), (1.0,))),
           ((ALL, (-50.0,), (1.0,)), (ALL, (-100.0,), (1.0,))))  # fmt: skip
# Diameter of the soma, length and diameter of the apical stick (um).
SHAPES = {"E": (30, 1000, 3), "I": (15, 200, 2)}
TEMPLATE = """begintemplate BallAndSticks
public init, soma, dend, apic, all
objref all
proc init() { all = new SectionList() }
create soma[1], dend[1], apic[1]
endtemplate BallAndSticks
"""
MORPHOLOGY = """create soma[1], dend[1], apic[1]
soma[0] { pt3dadd(0, 0, -15, %(soma)d) pt3dadd(0, 0, 15, %(soma)d) }
dend[0] { pt3dadd(0, 0, -15, 2) pt3dadd(0, 0, -215, 2) }
apic[0] { pt3dadd(0, 0, 15, %(width)d) pt3dadd(0, 0, %(top)d, %(width)d) }
connect dend[0](0), soma[0](0)
connect apic[0](0), soma[0](1)
forall { Ra = 100 cm = 1 all.append() }
"""


def make_passive(cell, resting):
    for section in cell.template.all:
        section.insert("pas")
        section.g_pas, section.e_pas = 0.0003, resting


def approximator(target, folder):
    """Return the method that computes kernels of one target population."""
    from lfpykernels import KernelApprox

    soma, length, width = SHAPES[target]
    morphology = folder / f"{target}.hoc"
    morphology.write_text(MORPHOLOGY % {"soma": soma, "width": width, "top": 15 + length})
    (folder / "template.hoc").write_text(TEMPLATE)
    k = POPULATIONS.index(target)
    cell = {
        "templatefile": str(folder / "template.hoc"), "templatename": "BallAndSticks",
        "custom_fun": [make_passive], "custom_fun_args": [{"resting": -65.0}],
        "templateargs": None, "delete_sections": False, "morphology": str(morphology),
    }  # fmt: skip
    multapses = [
        {"a": (1 - mean) / sd, "b": (10 - mean) / sd, "loc": mean, "scale": sd}
        for mean, sd in (row[k] for row in SYNAPSES)
    ]
    delays = [
        {"a": (0.3 - mean) / sd, "b": np.inf, "loc": mean, "scale": sd}
        for mean, sd in (row[k] for row in DELAYS)
    ]
    positions = [
        {"section": section, "fun": [norm] * len(heights), "funweights": list(shares),
         "funargs": [{"loc": height, "scale": 100.0} for height in heights]}
        for section, heights, shares in (row[k] for row in HEIGHTS)
    ]  # fmt: skip
    return KernelApprox(
        X=[*POPULATIONS], Y=target, N_X=np.array([8192, 1024]), N_Y=(8192, 1024)[k],
        C_YX=np.array([0.05, 0.05]), cellParameters=cell,
        populationParameters={"radius": 150.0, "loc": 0.0, "scale": 75.0},
        multapseFunction=truncnorm, multapseParameters=multapses,
        delayFunction=truncnorm, delayParameters=delays,
        synapseParameters=[{"weight": WEIGHTS[s][k], "syntype": "Exp2Syn", **COURSES[s]}
                           for s in (0, 1)],
        synapsePositionArguments=positions,
        extSynapseParameters={"syntype": "Exp2Syn", "weight": 0.0002, "tau1": 0.2, "tau2": 1.8,
                              "e": 0.0},
        nu_ext=40.0, n_ext=(465, 160)[k], nu_X={"E": 3.0, "I": 6.0},
    )  # fmt: skip


def compute_kernel(source, target, folder):
    from lfpykernels import KernelApproxCurrentDipoleMoment

    probe = KernelApproxCurrentDipoleMoment(cell=None)
    kernels = approximator(target, folder).get_kernel(
        probes=(probe,), Vrest=-65.0, dt=STEP, X=source, t_X=2 * LONGEST, tau=LONGEST, g_eff=True
    )
    vertical = kernels["KernelApproxCurrentDipoleMoment"][2]
    return vertical[len(vertical) // 2 :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Compile the mechanism of the synapses, as LFPykernels brings it."""
    library = pytest.importorskip("lfpykernels")
    neuron = pytest.importorskip("neuron")
    compiler = shutil.which("nrnivmodl", path=str(Path(sys.executable).parent))
    source = Path(library.__file__).parent / "tests" / "exp2synI.mod"
    if compiler is None or not source.is_file():
        pytest.skip("the mechanism of the synapses cannot be compiled")
    folder = tmp_path_factory.mktemp("mechanism")
    shutil.copy(source, folder)
    subprocess.run([compiler], cwd=folder, check=True, capture_output=True)
    assert neuron.load_mechanisms(str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("target", POPULATIONS)
@pytest.mark.parametrize("source", POPULATIONS)
def test_shipped_kernels_are_those_of_lfpykernels(source, target, folder):
    with as_file(files("npi_bids.data") / "dipole_kernels.tsv") as path:
        shipped = read_table(path)[f"{source}_to_{target}"].to_numpy()
    computed = compute_kernel(source, target, folder)
    assert shipped == pytest.approx(computed, abs=1e-6 * np.abs(computed).max())
