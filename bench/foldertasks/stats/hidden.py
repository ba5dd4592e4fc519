from stats import mean, median, spread


def test_median():
    assert median([10, 2, 38, 23, 38, 23, 21]) == 23
    assert median([1, 1, 2, 9]) == 1.5
    assert median([-5, 5]) == 0
    assert mean([2, 4]) == 3
    assert spread([2]) == 0


def test_the_list_stays_as_it_was():
    values = [3, 1, 2]
    median(values)
    assert values == [3, 1, 2]
