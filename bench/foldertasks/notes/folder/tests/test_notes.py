from notes.note import Note
from notes.store import Notes


def notes():
    found = Notes()
    found.add("Buy Milk", "home")
    found.add("call ann")
    return found


def test_find():
    assert notes().find("call") == ["call ann"]
    assert notes().find("bob") == []


def test_tagged():
    assert notes().tagged("home") == ["Buy Milk"]


def test_short():
    assert Note("0123456789abc").short() == "0123456789..."


def test_find_without_capitals():
    assert notes().find("milk") == ["Buy Milk"]
