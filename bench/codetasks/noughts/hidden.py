import pytest
from noughts import Game


def played(*moves):
    game = Game()
    for row, column in moves:
        game.play(row, column)
    return game


def test_an_empty_board():
    game = Game()
    assert (str(game), game.winner(), game.is_over()) == ("...\n...\n...", None, False)


@pytest.mark.parametrize(
    "moves",
    [
        [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)],
        [(0, 2), (0, 0), (1, 2), (1, 1), (2, 2)],
        [(0, 0), (0, 1), (1, 1), (0, 2), (2, 2)],
        [(0, 2), (0, 1), (1, 1), (0, 0), (2, 0)],
    ],
)
def test_three_in_a_line_win(moves):
    game = played(*moves)
    assert game.winner() == "X"
    assert game.is_over() is True
    with pytest.raises(ValueError):
        game.play(2, 1)


def test_the_second_player_can_win():
    assert played((0, 0), (1, 0), (0, 1), (1, 1), (2, 2), (1, 2)).winner() == "O"


def test_a_full_board_is_over_without_a_winner():
    game = played((0, 0), (0, 1), (0, 2), (1, 1), (1, 0), (1, 2), (2, 1), (2, 0), (2, 2))
    assert (game.winner(), game.is_over()) == (None, True)
    assert str(game) == "XOX\nXOO\nOXX"


@pytest.mark.parametrize("move", [(0, 0), (3, 0), (0, 3), (-1, 0), (0, -1)])
def test_a_refused_move_changes_nothing(move):
    game = played((0, 0))
    with pytest.raises(ValueError):
        game.play(*move)
    game.play(2, 2)
    assert str(game) == "X..\n...\n..O"
