"""Decimal numbers of large tables, read by operations on whole arrays."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.io.decimals import read_rows


def refuse(cells):
    raise AssertionError(f"not of the usual form: {cells}")


def read_by_python(cells):
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return None


@pytest.mark.parametrize("exponent", [-4, -3, -2, -1, 0])
def test_nine_digits_are_read_as_python_reads_them_to_the_last_bit(exponent):
    rng = np.random.default_rng(exponent + 9)
    sizes = rng.uniform(1, 10, 20_000) * 10.0**exponent
    texts = [f"{value:.9g}" for value in sizes * rng.choice([-1, 1], sizes.size)]
    texts = [text for text in texts if 8 <= len(text.partition(".")[2]) <= 14]
    assert len(texts) > 15_000
    body = "".join(f"A\t{text}\n" for text in texts).encode()
    names, values = read_rows(body, 1, refuse)
    assert names == [b"A"] * len(texts)
    assert values[:, 0].tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("text", ["-0.00000000", "9.99999999999999", "0.00000000000001"])
def test_ends_of_the_range_are_read_in_arrays(text):
    _, values = read_rows(f"A\t{text}\n".encode(), 1, refuse)
    assert values[0, 0] == float(text)
    assert np.signbit(values[0, 0]) == text.startswith("-")


def test_every_other_cell_is_left_to_the_other_reader():
    usual = ["0.123456789"] * 30
    others = ["1.5", "n/a", "12.34567890", "1e-05", "0.1234567:9", "0.12345678/", ".123456789"]
    others += ["0.1234567891234567", "--.12345678", "0,123456789", "", "-", "+0.12345678"]
    left = []

    def record(cells):
        left.extend(cell.decode() for cell in cells)
        return np.zeros(len(cells))

    row = [*usual, *others, *usual, *usual]
    _, values = read_rows(("R\t" + "\t".join(row) + "\n").encode(), len(row), record)
    assert left == others
    assert (values != 0).sum() == 3 * len(usual)


def test_a_table_of_other_numbers_is_read_as_a_whole():
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((7, 5)) * 1e-9
    rows = ["\t".join((f"R{row}", *map(str, values))) for row, values in enumerate(numbers)]
    names, values = read_rows(("\n".join(rows) + "\n").encode(), 5, read_by_python)
    assert names == [f"R{row}".encode() for row in range(7)]
    assert np.array_equal(values, numbers)


def test_blocks_of_rows_do_not_change_the_numbers(monkeypatch):
    rng = np.random.default_rng(1)
    rows = [f"R\t{a:.9g}\t{b:.9g}" for a, b in rng.standard_normal((100, 2))]
    body = ("\n".join(rows) + "\n").encode()
    whole = read_rows(body, 2, read_by_python)
    monkeypatch.setattr("npi_bids.io.decimals._CELLS_AT_ONCE", 7)
    assert np.array_equal(read_rows(body, 2, read_by_python)[1], whole[1])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"A\t0.123456789\n", b"A\t1\t2\t3\n", b"A\t1\nB\t1\t2\t3\n", b"A\t1\t2\n\nB\t1\t2\n",
        b"A\t1\x002\t2\n", b"A\tone\t2\n",
    ],
)  # fmt: skip
def test_rows_of_another_length_and_text_are_refused(body):
    assert read_rows(body, 2, read_by_python) is None
