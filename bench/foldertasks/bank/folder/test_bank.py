import pytest

from bank import Account, transfer


def test_deposit():
    account = Account("ann")
    account.deposit(10)
    assert account.balance == 10
    with pytest.raises(ValueError):
        account.deposit(0)


def test_transfer():
    ann, bob = Account("ann", 10), Account("bob")
    transfer(ann, bob, 4)
    assert (ann.balance, bob.balance) == (6, 4)


def test_no_more_than_there_is():
    account = Account("ann", 5)
    with pytest.raises(ValueError):
        account.withdraw(6)
    assert account.balance == 5
