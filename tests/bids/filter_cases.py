"""Filter files, a dataset to try them on, and what pybids finds with them.

``find_with_pybids`` merges filters and defaults as fMRIPrep does, and queries an index that pybids
made by itself: it is the witness that the tests compare with.
"""

from __future__ import annotations

import json

from tests.conftest import touch

SPACES = ("MNI152NLin6Asym", "MNI152NLin2009cAsym", "T1w")


def make_dataset(root):
    """Write empty images: labels of which one is part of another, sessions, runs, descriptions."""
    (root / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative",'
        ' "GeneratedBy": [{"Name": "fMRIPrep"}]}'
    )
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    (root / "task-nback_bold.json").write_text('{"RepetitionTime": 1.5}')
    for sub in ("01", "03", "1"):
        for ses in ("ses-01_", "ses-1_", ""):
            for stem in ("task-rest_run-1_", "task-rest_run-02_", "task-nback_acq-fast_"):
                for space in SPACES:
                    for desc in ("preproc", "smoothAROMAnonaggr"):
                        name = f"sub-{sub}_{ses}{stem}space-{space}_desc-{desc}_bold.nii.gz"
                        touch(root, f"sub-{sub}/{ses.rstrip('_')}/func/{name}")
    touch(root, *(
        f"sub-03/func/sub-03_task-echoes_{part}space-{space}_desc-preproc_bold.nii.gz"
        for space in SPACES
        for part in ("echo-1_", "echo-02_", "part-phase_", "rec-x_dir-AP_ce-gd_")
    ))  # fmt: skip
    return root


# The 50 filters: name, and the content of the file.
def _bold(**filters):
    return {"bold": filters}


CASES = {
    "empty": {},
    "task": _bold(task="rest"),
    "task that is not there": _bold(task="res"),
    "tasks": _bold(task=["rest", "nback"]),
    "desc of AROMA": _bold(desc="smoothAROMAnonaggr"),
    "desc list": _bold(desc=["smoothAROMAnonaggr", "x"]),
    "desc null": _bold(desc=None),
    "suffix boldref": _bold(suffix="boldref"),
    "suffix bold": _bold(suffix="bold"),
    "datatype anat": _bold(datatype="anat"),
    "datatype func": _bold(datatype="func"),
    "extension .nii": _bold(extension=".nii"),
    "extension nii.gz": _bold(extension="nii.gz"),
    "key BOLD": {"BOLD": {"task": "rest"}},
    "key bolt": {"bolt": {"task": "rest"}},
    "key mask": {"mask": {"task": "rest"}},
    "session text": _bold(session="1"),
    "session number": _bold(session=1),
    "session 01": _bold(session="01"),
    "session with prefix": _bold(session="ses-01"),
    "session null": _bold(session=None),
    "session any": _bold(session="*"),
    "session null in a list": _bold(session=[None, "01"]),
    "session any in a list": _bold(session=["*"]),
    "subject 1": _bold(subject="1"),
    "subjects": _bold(subject=["01", "03"]),
    "misspelt, null": _bold(taks=None),
    "misspelt, label": _bold(taks="rest"),
    "run number": _bold(run=1),
    "run text": _bold(run="1"),
    "run padded": _bold(run="01"),
    "run 2": _bold(run=2),
    "runs": _bold(run=[1, "02"]),
    "run null": _bold(run=None),
    "run empty": _bold(run=[]),
    "run not there": _bold(run=7),
    "regular expression": _bold(task="r.*t", regex_search=True),
    "regular expression, part": _bold(task="ba", regex_search=True),
    "no regular expression": _bold(task="r.*t", regex_search=False),
    "metadata": _bold(RepetitionTime=2.0),
    "metadata not there": _bold(RepetitionTime=9.5),
    "acquisition": _bold(acquisition="fast"),
    "acquisition null": _bold(acquisition=None),
    "part phase": _bold(part="phase"),
    "echo 1": _bold(echo="1"),
    "spaces": _bold(space=["T1w", "MNI152NLin6Asym"]),
    "scope derivatives": _bold(scope="derivatives"),
    "scope raw": _bold(scope="raw"),
    "stored Query": _bold(session="<Query.NONE: 1>"),
    "several": _bold(task="rest", session=["01", None], run=1, subject="03"),
}
# Files that are an error in fMRIPrep and understood here: the runs that are found, as a filter
# in the spelling of fMRIPrep.
LOOSER = {
    "Query.NONE": (_bold(session="Query.NONE"), _bold(session=None)),
    "Query.ANY in a list": (_bold(session=["Query.ANY"]), _bold(session="*")),
    "Query.REQUIRED": (_bold(session="<Query.REQUIRED: 2>"), _bold(session="*")),
    "Query.OPTIONAL": (_bold(session="Query.OPTIONAL"), _bold()),
    "ses": (_bold(ses="01"), _bold(session="01")),
    "acq": (_bold(acq="fast"), _bold(acquisition="fast")),
    "ce, rec, dir": (_bold(ce="gd", rec="x", dir="AP"), _bold(ceagent="gd")),
    "description": (_bold(description="preproc"), _bold(desc="preproc")),
    "echo 01": (_bold(echo="01"), _bold(echo="1")),
    "echo number": (_bold(echo=2), _bold(echo="02")),
}


def find_with_pybids(layout, content):
    """Return the names of the files that pybids finds, or the class of its error."""
    from bids.layout import Query

    special = {None: Query.NONE, "*": Query.ANY}

    def read(value):
        if isinstance(value, list):
            return [read(item) for item in value]
        if isinstance(value, str) and "Query" in value:
            return getattr(Query, value[len("<Query.") : -len(": 1>")])
        return special.get(value, value)

    query = {"datatype": "func", "suffix": "bold", "desc": ["preproc"], "part": ["mag", None],
             "extension": [".nii", ".nii.gz"]}  # fmt: skip
    queries = {"bold": query}
    try:
        for key, filters in content.items():
            queries[key].update({name: read(value) for name, value in filters.items()})
        files = layout.get(return_type="file", **query)
    except (KeyError, ValueError, AttributeError) as error:
        return type(error)
    return {without_space(file.rpartition("/")[2]) for file in files}


def without_space(name):
    """Return a name without its space, one of which is chosen here."""
    return "_".join(part for part in name.split("_") if not part.startswith("space-"))


def write_filters(folder, content):
    """Write a filter file and return its path."""
    path = folder / "filters.json"
    path.write_text(json.dumps(content))
    return str(path)
