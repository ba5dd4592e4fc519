from word_stats import count_words, longest_word, split_words


def test_words_are_lower_case():
    assert split_words("  One two\nTHREE ") == ["one", "two", "three"]
    assert split_words("") == []


def test_words_are_counted():
    assert count_words("a b A b a") == {"a": 3, "b": 2}
    assert count_words("he the he") == {"he": 2, "the": 1}
    assert count_words(" ") == {}


def test_the_first_longest_word_wins():
    assert longest_word("one Three seven two") == "three"
    assert longest_word("  ") == ""
