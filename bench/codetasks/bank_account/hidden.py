import pytest
from bank_account import Account, InsufficientFunds


def test_it_begins_as_said():
    assert (Account("Bo").owner, Account("Bo").balance, Account("Bo", 7).balance) == ("Bo", 0, 7)


def test_money_comes_and_goes():
    account = Account("Bo", 100)
    assert account.deposit(20) == 120
    assert account.withdraw(120) == 0
    assert account.balance == 0


def test_too_much_is_refused_and_changes_nothing():
    account = Account("Bo", 10)
    with pytest.raises(InsufficientFunds):
        account.withdraw(11)
    assert account.balance == 10


@pytest.mark.parametrize("amount", [0, -5])
def test_amounts_are_positive(amount):
    account = Account("Bo", 10)
    with pytest.raises(ValueError):
        account.deposit(amount)
    with pytest.raises(ValueError):
        account.withdraw(amount)
    assert account.balance == 10


def test_accounts_do_not_share_anything():
    one, other = Account("A"), Account("B")
    one.deposit(3)
    assert other.balance == 0
