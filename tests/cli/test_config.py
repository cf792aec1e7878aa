import pytest

from npi_bids.cli.logs import write_settings
from npi_bids.cli.parser import parse
from npi_bids.errors import SettingsError

BASE = ("bids", "out", "participant")


def parse_with(tmp_path, text, *words):
    (tmp_path / "mine.toml").write_text(text)
    return parse([*BASE, "--config-file", str(tmp_path / "mine.toml"), *words])


def test_options_stand_by_flag_or_field_in_tables_or_not(tmp_path):
    found = parse_with(
        tmp_path,
        'surrogate = "var"\nrandom-seed = 3\n[queries]\nparticipant-label = ["01", "02"]\n'
        '[anything]\nfd_thresh = 1\ngsr = true\natlas = "AAL"\n',
    )
    assert found.analysis.train.surrogate == "var"
    assert found.analysis.train.seed == 3
    assert found.query.participant_label == ("01", "02")
    assert found.analysis.denoise.fd_thresh == 1.0
    assert found.analysis.denoise.gsr is True
    assert found.atlases.atlas == ("AAL",)


def test_the_command_line_goes_first(tmp_path):
    found = parse_with(tmp_path, 'surrogate = "var"\nlags = 2\n', "--surrogate", "mou")
    assert found.analysis.train.surrogate == "mou"
    assert found.analysis.train.n_lags == 2


def test_what_a_run_wrote_gives_the_same_run(tmp_path):
    words = ["--atlas", "AAL", "--surrogate", "mlp", "--preset", "luo2025", "--fd-thresh", "0.4",
             "--measures", "npi", "fc", "--n-bootstrap", "3", "--wbm-grid", "5"]  # fmt: skip
    first = parse([*BASE, *words])
    write_settings(first, tmp_path)
    again = parse([*BASE, "--config-file", str(tmp_path / "settings.toml")])
    assert again.analysis == first.analysis
    assert again.analysis.configuration == first.analysis.configuration
    assert again.atlases == first.atlases
    assert again.query == first.query


def test_all_that_is_wrong_is_named_together(tmp_path):
    with pytest.raises(SettingsError) as caught:
        parse_with(tmp_path, 'surogate = "var"\nlags = "two"\nstrength = -1\ngsr = 1\n')
    text = str(caught.value)
    assert "'surogate', which is no option; did you mean 'surrogate'?" in text
    assert "'lags' in" in text
    assert "must be a whole number, not 'two'" in text
    assert "--strength must be above 0" in text
    assert "must be true or false, not 1" in text


@pytest.mark.parametrize("value", ["[[1]]", "[{a = 1}]", "1979-05-27", "true"])
@pytest.mark.parametrize("name", ["atlas", "lags", "surrogate", "participant-label", "n-procs"])
def test_values_of_another_type_are_refused_in_words(tmp_path, name, value):
    with pytest.raises(SettingsError, match=f"'{name}' in .* must be"):
        parse_with(tmp_path, f"{name} = {value}\n")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse_with(tmp_path, "surrogate = ")
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse_with(tmp_path, "atlas = " + "[" * 100_000)
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse([*BASE, "--config-file", str(tmp_path / "none.toml")])
