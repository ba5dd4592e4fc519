from notes.store import Notes


def test_find():
    notes = Notes()
    notes.add("Water the PLANTS", "home")
    notes.add("plants are green")
    notes.add("nothing")
    assert notes.find("plants") == ["Water the PLANTS", "plants are green"]
    assert notes.find("WATER") == ["Water the PLANTS"]
    assert notes.find("GREEN") == ["plants are green"]
    assert notes.find("sun") == []
    assert notes.tagged("home") == ["Water the PLANTS"]
