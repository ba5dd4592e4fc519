from pathlib import Path

import pytest
from todo_file import add, clear, items


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "todo.txt")


def test_a_missing_file_has_no_items(path):
    assert items(path) == []


def test_items_are_added_in_order(path):
    assert [add(path, "a"), add(path, "b c"), add(path, "d")] == [1, 2, 3]
    assert items(path) == ["a", "b c", "d"]


def test_an_empty_item_changes_nothing(path):
    add(path, "a")
    with pytest.raises(ValueError):
        add(path, "")
    assert items(path) == ["a"]


def test_a_cleared_list_is_empty_and_goes_on(path):
    add(path, "a")
    clear(path)
    assert items(path) == []
    assert Path(path).exists()
    assert add(path, "b") == 1
