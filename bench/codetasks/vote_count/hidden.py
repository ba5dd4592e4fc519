from vote_count import Votes


def cast(*names):
    votes = Votes()
    for name in names:
        votes.add(name)
    return votes


def test_votes_add_up():
    votes = cast("a", "b", "a")
    assert [votes.count(name) for name in "abc"] == [2, 1, 0]
    assert votes.total() == 3


def test_the_most_votes_win():
    assert cast("a", "b", "b").winner() == "b"
    assert cast("z", "b", "b", "z", "c").winner() == "z"


def test_without_votes_nobody_wins():
    assert (Votes().winner(), Votes().total()) == (None, 0)


def test_asking_changes_nothing():
    votes = cast("a")
    votes.count("b")
    assert (votes.total(), votes.winner()) == (1, "a")


def test_reset_forgets():
    votes = cast("a", "b")
    votes.reset()
    assert (votes.count("a"), votes.total(), votes.winner()) == (0, 0, None)
