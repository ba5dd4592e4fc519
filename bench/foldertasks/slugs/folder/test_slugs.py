from slugs import slug_of, title_of, words


def test_words():
    assert words("Hello, World") == ["hello", "world"]


def test_slug():
    assert slug_of("The 2 Towers!") == "the-2-towers"


def test_title():
    assert title_of("hello-world") == "Hello World"
    assert title_of("the-end") == "The End"
