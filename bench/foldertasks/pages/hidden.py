from pages import count_pages, page, page_of


def test_pages():
    assert [page("abcdefg", n, 3) for n in (1, 2, 3)] == ["abc", "def", "g"]
    assert page([1, 2], 2, 2) == []
    assert page(list(range(100)), 10, 10) == list(range(90, 100))


def test_the_rest_is_as_it_was():
    assert count_pages("abcdefg", 3) == 3
    assert page_of("abcdefg", "g", 3) == 3
