"""Base classes and shared functions of all interfaces."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    Str,
    TraitedSpec,
    traits,
)

from npi_bids import __version__
from npi_bids.io.failures import FAILURE, write_failure
from npi_bids.io.files import (
    LOG_LEVEL,
    LOG_LINE,
    SEAL,
    LogFile,
    write_json,
)

if TYPE_CHECKING:
    from npi_bids.inference import TrainedModel
    from npi_bids.records import RegionSeries
    from npi_bids.surrogates.delay_map import DelayMap
    from npi_bids.surrogates.group_prior import GroupPrior

WORKFLOW = "npi_bids_wf"  # name of the workflow of all subjects, and of its folder
_TERMINAL = "terminal of a worker"


class VersionedInputSpec(BaseInterfaceInputSpec):
    """Inputs with the version of npi-bids, so that nodes cached by another version run again."""

    version = traits.Str(__version__, usedefault=True, desc="version of npi-bids")

    def _get_sorteddict(
        self,
        objekt: Any,
        dictwithhash: bool = False,
        hash_method: str | None = None,
        hash_files: bool = True,
    ) -> Any:
        """Hash each file once while it is one of the last 256, not twice for each hash of a node.

        For a run of 600 volumes that took as long as its extraction.
        """
        if hash_method == "content" and hash_files and isinstance(objekt, str):
            with suppress(OSError, ValueError):  # a text that is no path
                state = Path(objekt).stat()
                if stat.S_ISREG(state.st_mode):
                    times = state.st_mtime_ns, state.st_ctime_ns
                    digest = _hash_content(objekt, state.st_ino, state.st_size, times)
                    return (objekt, digest) if dictwithhash else digest
        return super()._get_sorteddict(objekt, dictwithhash, hash_method, hash_files)


@lru_cache(maxsize=256)
def _hash_content(path: str, _inode: int, _size: int, _times: tuple[int, int]) -> str:
    """Return the hash of a file in a state; a processor computes SHA-256 faster than MD5."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SubjectInputSpec(VersionedInputSpec):
    """The runs of one subject, and the computing resources."""

    series = InputMultiObject(
        File(exists=True), mandatory=True, desc="timeseries.tsv of each run of the subject"
    )
    summaries = InputMultiObject(
        File(exists=True), mandatory=True, desc="JSON of each run, in the same order"
    )
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="number of threads for torch")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="use one of the GPU slots")


class PriorInputSpec(SubjectInputSpec):
    """The runs of one subject, and the group surrogate towards which its model is shrunk."""

    pretrained = File(exists=True, desc="surrogate of a group, .safetensors with its .json")
    subject = Str("", usedefault=True, desc="label of the subject, to predict it without itself")
    delay_map = File(exists=True, desc="TSV of what is known of the delays of regions")


class TrainedInputSpec(SubjectInputSpec):
    """The runs of one subject, and the surrogate trained on them, unless data were too few."""

    surrogate = File(exists=True, desc="the fitted surrogate")
    checked = File(exists=True, desc="the same, fitted to the training windows alone")
    training = File(exists=True, mandatory=True, desc="JSON of the training")


class ModelOutputSpec(TraitedSpec):
    """The files of one model."""

    files = OutputMultiObject(File(exists=True), desc="matrices, training curve and weights")
    summary = File(exists=True, desc="JSON: description of the fit, or why there is none")


class NPIInterface(SimpleInterface):
    """An interface that calls one function of the library and handles its files.

    An error that it raises is written into the folder of its node, because Nipype passes on only
    the text of a traceback.
    """

    # Modules that it loads when it runs; worker processes share them.
    modules: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_run_interface" in vars(cls):
            cls._run_interface = _recording_failure(cls._run_interface)

    def aggregate_outputs(self, runtime: Any = None, needed_outputs: Any = None) -> Any:
        """Return the outputs; a declared output that is missing is an error."""
        try:
            return super().aggregate_outputs(runtime, needed_outputs)
        except Exception as error:
            if runtime is not None:
                write_failure(error, Path(runtime.cwd) / FAILURE)
            raise

    def _post_run_hook(self, runtime: Any) -> Any:
        """Record the size of each file, so that files truncated later are recognized."""
        folder = Path(runtime.cwd)
        # Hidden files are unfinished, and may belong to another process in a shared folder.
        finished = [
            path for path in folder.iterdir() if path.name[0] not in "_." and path.is_file()
        ]
        write_json(folder / SEAL, {path.name: path.stat().st_size for path in sorted(finished)})
        return runtime

    def _file(self, runtime: Any, name: str) -> Path:
        """Return the path of an output file in the folder of the node."""
        return Path(runtime.cwd) / name


def _recording_failure(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap a method that runs an interface so that it records any error that it raises."""

    @wraps(run)
    def run_interface(self: Any, runtime: Any) -> Any:
        try:
            return run(self, runtime)
        except Exception as error:
            write_failure(error, Path(runtime.cwd) / FAILURE)
            raise

    return run_interface


def read_prior(inputs: Any, runs: Sequence[RegionSeries], surrogate: str) -> GroupPrior | None:
    """Return the group prior for a subject, or None without a pre-trained surrogate.

    Parameters
    ----------
    inputs
        Inputs with the fields of :class:`PriorInputSpec`.
    runs
        Series of the subject, for their regions and sampling period.
    surrogate
        Family of the surrogate that is fitted.
    """
    from npi_bids.surrogates.storage import read_pretrained

    path = inputs.get_traitsfree().get("pretrained")
    if path is None:
        return None
    stored = read_pretrained(Path(path), runs[0].labels, runs[0].tr, surrogate)
    return stored.build_prior(inputs.subject)


def read_known_delays(inputs: Any, runs: Sequence[RegionSeries]) -> DelayMap | None:
    """Return what is known of the delays of regions, or None without a map of delays."""
    from npi_bids.surrogates.delay_map import read_delay_map

    path = inputs.get_traitsfree().get("delay_map")
    return None if path is None else read_delay_map(Path(path), runs[0].labels)


def prior_origin(inputs: Any, prior: GroupPrior | None) -> dict[str, object]:
    """Return the origin of a prior for the summary; empty without a prior."""
    from npi_bids.surrogates.delay_map import describe_source
    from npi_bids.surrogates.storage import describe_origin

    if path := inputs.get_traitsfree().get("delay_map"):
        return {"delay_map": describe_source(Path(path))}
    if prior is None:
        return {}
    path = Path(inputs.pretrained)
    return {"pretrained": describe_origin(path, subject=inputs.subject)}


def load_trained(inputs: Any) -> TrainedModel:
    """Load the model trained on a subject, from inputs with those of :class:`TrainedInputSpec`."""
    from npi_bids.bids.model_files import read_training
    from npi_bids.inference import TrainedModel
    from npi_bids.surrogates.storage import load_surrogate

    log, settings = read_training(Path(inputs.training))
    surrogate, checked = (load_surrogate(path) for path in (inputs.surrogate, inputs.checked))
    for fitted in (surrogate, checked):
        fitted.compute_on(settings.device)
    return TrainedModel(surrogate, checked, log, settings)


def set_up_worker_logging(log_file: str = "", level: str = "") -> None:
    """Set up the log of a worker process, on the terminal and in the log file.

    The main process keeps the handlers that it already has.

    Parameters
    ----------
    log_file
        Log file; none where empty.
    level
        Minimum level for the terminal, unless the level set on the command line is higher.
    """
    logger = logging.getLogger("npi_bids")
    terminal_level = logging.getLevelNamesMapping().get(
        os.environ.get(LOG_LEVEL, ""), logging.WARNING
    )
    terminal_level = max(terminal_level, logging.getLevelNamesMapping().get(level, 0))
    for handler in logger.handlers:
        if handler.name == _TERMINAL:
            handler.setLevel(terminal_level)
    if logger.handlers:
        return
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].set_name(_TERMINAL)
    handlers[0].setLevel(terminal_level)
    if log_file:
        # Lines from several processes are appended without being mixed.
        handlers.append(LogFile(log_file, encoding="utf-8", delay=True))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_LINE, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def plain(value: Any) -> Any:
    """Convert dicts and lists of traits to built-in ones, which can be copied and written."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
