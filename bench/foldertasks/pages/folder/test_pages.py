from pages import count_pages, page, page_of


def test_the_first_page():
    assert page([1, 2, 3, 4, 5], 1, 2) == [1, 2]


def test_the_last_page_may_be_shorter():
    assert page([1, 2, 3, 4, 5], 3, 2) == [5]


def test_nothing_has_no_pages():
    assert count_pages([], 3) == 0
    assert page([], 1, 3) == []


def test_the_page_of_a_value():
    assert page_of("abcde", "c", 2) == 2
