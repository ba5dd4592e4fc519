from slugs import slug_of, title_of


def test_title():
    assert title_of("one") == "One"
    assert title_of("a-long-way-home") == "A Long Way Home"
    assert title_of("the-2-towers") == "The 2 Towers"


def test_there_and_back():
    assert slug_of(title_of("the-end")) == "the-end"
