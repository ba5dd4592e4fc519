"""Accounts, and money going from one to another."""


class Account:
    """A balance that is never below zero."""

    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        """Put money on the account; ValueError unless it is more than nothing."""
        if amount <= 0:
            raise ValueError("a deposit has to be positive")
        self.balance += amount

    def withdraw(self, amount):
        """Take money from the account; ValueError unless it is more than nothing, and there."""
        if amount <= 0:
            raise ValueError("a withdrawal has to be positive")
        self.balance -= amount


def transfer(source, target, amount):
    """Move money; when the source has not enough, ValueError and nothing is moved."""
    source.withdraw(amount)
    target.deposit(amount)
