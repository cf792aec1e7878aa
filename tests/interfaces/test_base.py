"""What all interfaces share."""

import hashlib

from nipype.interfaces.base import File, InputMultiObject, Str

from npi_bids.interfaces.base import VersionedInputSpec, plain


def test_containers_of_traits_become_plain_ones():
    assert plain({"a": [(1, 2), {"b": 3}]}) == {"a": [[1, 2], {"b": 3}]}


class _FilesInputSpec(VersionedInputSpec):
    run = File(exists=True)
    others = InputMultiObject(File(exists=True))
    text = Str()


def hash_of(**inputs):
    return _FilesInputSpec(**inputs).get_hashval(hash_method="content")[1]


def test_files_are_hashed_by_what_they_contain(tmp_path):
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    first.write_text("content")
    same.write_text("content")
    other.write_text("contents")
    assert hash_of(run=str(first)) == hash_of(run=str(same)) != hash_of(run=str(other))
    assert hash_of(others=[str(first)]) == hash_of(others=[str(same)])
    assert hash_of(others=[str(first)]) != hash_of(others=[str(other)])
    before = hash_of(run=str(first))
    other.write_text("CONTENT")
    other.replace(first)
    assert hash_of(run=str(first)) != before
    assert hash_of(text="x\0y") != hash_of(text="x" * 10_000)


def test_each_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "run"
    path.write_text("content")
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        "hashlib.file_digest", lambda file, name: read.append(file.name) or digest(file, name)
    )
    for _ in range(2):
        hash_of(run=str(path), others=[str(path)])
    assert len(read) == 1
