import pytest
from ini_reader import parse


def test_sections_and_values():
    text = "[ one ]\n a=1\nb =  two words \n\n; note\n[two]\nurl = http://x/?q=1\n"
    assert parse(text) == {"one": {"a": "1", "b": "two words"}, "two": {"url": "http://x/?q=1"}}


def test_repeated_keys_and_sections():
    assert parse("[a]\nx=1\nx=2\n[b]\n[a]\ny=3") == {"a": {"x": "2", "y": "3"}, "b": {}}


def test_an_empty_value_is_a_value():
    assert parse("[a]\nx =") == {"a": {"x": ""}}


def test_indented_comments_are_comments():
    assert parse("[a]\n   # x = 1") == {"a": {}}


@pytest.mark.parametrize(("text", "line"), [("\nx = 1", "2"), ("[a]\nx = 1\nnonsense", "3"), ("[a]\n[b", "2")])
def test_faults_name_their_line(text, line):
    with pytest.raises(ValueError, match=line):
        parse(text)
