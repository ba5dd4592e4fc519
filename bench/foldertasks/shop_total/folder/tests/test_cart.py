from shop.cart import Cart
from shop.money import as_text, percent_of


def filled(discount):
    cart = Cart(discount)
    cart.add(1000, 2)
    cart.add(500)
    return cart


def test_total_without_a_discount():
    assert filled(0).total() == 2500


def test_total_with_a_discount():
    assert filled(10).total() == 2250


def test_money():
    assert percent_of(250, 10) == 25
    assert as_text(1205) == "12.05"
