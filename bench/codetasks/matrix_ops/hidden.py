import pytest
from matrix_ops import add, scale, transpose


def test_rows_become_columns():
    assert transpose([[1, 2], [3, 4], [5, 6]]) == [[1, 3, 5], [2, 4, 6]]
    assert transpose(transpose([[1, 2, 3], [4, 5, 6]])) == [[1, 2, 3], [4, 5, 6]]


def test_sums_and_multiples():
    assert add([[1, -1]], [[2, 3]]) == [[3, 2]]
    assert scale([[1], [-2]], 0.5) == [[0.5], [-1]]


@pytest.mark.parametrize(("a", "b"), [([[1, 2]], [[1], [2]]), ([[1]], [[1], [2]]), ([[1, 2], [3, 4]], [[1, 2]])])
def test_shapes_that_cannot_be_added(a, b):
    with pytest.raises(ValueError):
        add(a, b)


def test_arguments_stay_as_they_are():
    a, b = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    transpose(a), add(a, b), scale(a, 3)
    assert (a, b) == ([[1, 2], [3, 4]], [[5, 6], [7, 8]])
