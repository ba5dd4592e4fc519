import pytest
from phone_book import PhoneBook


def book(**numbers):
    made = PhoneBook()
    for name, number in numbers.items():
        made.add(name, number)
    return made


def test_numbers_are_found():
    assert book(Ann="1", Bob="2").lookup("Bob") == "2"
    with pytest.raises(KeyError):
        book(Ann="1").lookup("Bob")


def test_a_name_is_added_once():
    made = book(Ann="1")
    with pytest.raises(ValueError):
        made.add("Ann", "2")
    assert made.lookup("Ann") == "1"


def test_names_are_sorted():
    assert book(Bob="1", Zoe="2", Ann="3").names() == ["Ann", "Bob", "Zoe"]
    assert PhoneBook().names() == []


def test_a_book_survives_its_file(tmp_path):
    path = str(tmp_path / "book")
    made = book(Ann="+1 (2) 3", Bob="007")
    made.add("Jane Doe", "9")
    made.save(path)
    loaded = PhoneBook.load(path)
    assert [loaded.lookup(name) for name in ("Ann", "Bob", "Jane Doe")] == ["+1 (2) 3", "007", "9"]
    assert loaded.names() == ["Ann", "Bob", "Jane Doe"]


def test_a_file_is_written_anew(tmp_path):
    path = str(tmp_path / "book")
    book(Ann="1").save(path)
    book(Bob="2").save(path)
    assert PhoneBook.load(path).names() == ["Bob"]
