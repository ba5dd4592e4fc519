import pytest
from int_stack import Stack


def filled(*items):
    stack = Stack()
    for item in items:
        stack.push(item)
    return stack


def test_last_in_first_out():
    stack = filled(1, 2, 3)
    assert [stack.pop(), stack.pop(), stack.pop()] == [3, 2, 1]
    assert stack.is_empty()


def test_peek_leaves_the_item():
    stack = filled(1, 2)
    assert (stack.peek(), stack.peek(), stack.size()) == (2, 2, 2)
    assert not stack.is_empty()


def test_an_empty_stack_has_nothing_to_give():
    with pytest.raises(IndexError):
        Stack().pop()
    with pytest.raises(IndexError):
        Stack().peek()
    assert Stack().size() == 0


def test_stacks_are_independent():
    filled(1)
    assert Stack().is_empty()
