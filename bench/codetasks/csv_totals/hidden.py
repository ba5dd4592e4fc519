import pytest
from csv_totals import totals


def written(tmp_path, text):
    path = tmp_path / "data.csv"
    path.write_text(text)
    return str(path)


def test_amounts_are_summed_by_name(tmp_path):
    assert totals(written(tmp_path, "name,amount\nA,1\nB,2.5\nA,-4\n")) == {"A": -3.0, "B": 2.5}


def test_columns_come_in_any_order(tmp_path):
    assert totals(written(tmp_path, "date,amount,name\n2024-01-01,5,X\n2024-01-02,6,X\n")) == {"X": 11.0}


def test_quoted_names_are_read(tmp_path):
    assert totals(written(tmp_path, 'name,amount\n"Doe, Jane",7\n')) == {"Doe, Jane": 7.0}


def test_a_file_with_a_header_alone_is_empty(tmp_path):
    assert totals(written(tmp_path, "name,amount\n")) == {}


def test_bad_amounts_and_missing_files_are_errors(tmp_path):
    with pytest.raises(ValueError):
        totals(written(tmp_path, "name,amount\nA,much\n"))
    with pytest.raises(FileNotFoundError):
        totals(str(tmp_path / "nothing.csv"))
