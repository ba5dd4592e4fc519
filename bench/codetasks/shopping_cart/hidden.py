import pytest
from shopping_cart import Cart


def test_an_empty_cart_costs_nothing():
    assert (Cart().total(), Cart().names()) == (0, [])


def test_prices_add_up():
    cart = Cart()
    cart.add("b", 2.5)
    cart.add("a", 10)
    assert cart.total() == pytest.approx(12.5)
    assert cart.names() == ["b", "a"]


def test_a_name_again_takes_the_new_price():
    cart = Cart()
    cart.add("a", 2)
    cart.add("a", 5)
    assert (cart.total(), cart.names()) == (5, ["a"])


def test_things_are_taken_out():
    cart = Cart()
    cart.add("a", 2)
    cart.add("b", 1)
    cart.remove("a")
    assert (cart.total(), cart.names()) == (1, ["b"])
    with pytest.raises(KeyError):
        cart.remove("a")


def test_bad_prices_are_refused():
    cart = Cart()
    cart.add("free", 0)
    with pytest.raises(ValueError):
        cart.add("a", -1)
    assert cart.names() == ["free"]


def test_carts_are_independent():
    Cart().add("a", 1)
    assert Cart().names() == []
