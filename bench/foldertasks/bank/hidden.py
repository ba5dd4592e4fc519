import pytest

from bank import Account, transfer


def test_withdraw():
    account = Account("ann", 5)
    account.withdraw(5)
    assert account.balance == 0
    for amount in (1, 0, -1):
        with pytest.raises(ValueError):
            account.withdraw(amount)
    assert account.balance == 0


def test_transfer_of_too_much():
    ann, bob = Account("ann", 3), Account("bob", 1)
    with pytest.raises(ValueError):
        transfer(ann, bob, 4)
    assert (ann.balance, bob.balance) == (3, 1)
