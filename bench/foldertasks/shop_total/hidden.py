from shop.cart import Cart
from shop.money import off


def test_off():
    assert off(1000, 25) == 750
    assert off(200, 100) == 0
    assert off(999, 0) == 999


def test_cart():
    cart = Cart(50)
    cart.add(300, 3)
    assert cart.total() == 450
    assert cart.label() == "4.50"
