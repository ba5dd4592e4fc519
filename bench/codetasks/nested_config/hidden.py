from nested_config import lookup, merge


def test_deep_entries_are_merged():
    base = {"a": {"b": {"c": 1, "d": 2}}, "e": 1}
    assert merge(base, {"a": {"b": {"c": 9}, "n": 0}}) == {"a": {"b": {"c": 9, "d": 2}, "n": 0}, "e": 1}


def test_the_second_wins_where_one_is_no_dictionary():
    assert merge({"a": 1}, {"a": {"x": 1}}) == {"a": {"x": 1}}
    assert merge({"a": {"x": 1}}, {"a": None}) == {"a": None}
    assert merge({"a": [1]}, {"a": [2]}) == {"a": [2]}


def test_arguments_are_never_changed():
    base, over = {"a": {"x": 1}, "b": {"y": 1}}, {"a": {"z": 2}, "c": {"w": 1}}
    merged = merge(base, over)
    merged["a"]["x"] = merged["b"]["y"] = merged["c"]["w"] = 99
    assert base == {"a": {"x": 1}, "b": {"y": 1}}
    assert over == {"a": {"z": 2}, "c": {"w": 1}}


def test_values_are_found():
    config = {"a": {"b": {"c": 0}}, "n": None}
    assert lookup(config, "a.b.c", 5) == 0
    assert lookup(config, "a.b") == {"c": 0}
    assert lookup(config, "n", 5) is None


def test_what_is_missing_gives_the_default():
    config = {"a": {"b": 1}, "t": "text"}
    assert lookup(config, "x") is None
    assert lookup(config, "a.x.y", 3) == 3
    assert lookup(config, "a.b.c", 3) == 3
    assert lookup(config, "t.e", 3) == 3
