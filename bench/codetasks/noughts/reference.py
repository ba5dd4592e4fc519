LINES = [
    *[[(row, column) for column in range(3)] for row in range(3)],
    *[[(row, column) for row in range(3)] for column in range(3)],
    [(0, 0), (1, 1), (2, 2)],
    [(0, 2), (1, 1), (2, 0)],
]


class Game:
    def __init__(self):
        self._board = {}
        self._turn = "X"

    def play(self, row, column):
        if self.is_over() or not (0 <= row < 3 and 0 <= column < 3) or (row, column) in self._board:
            raise ValueError("that move is not possible")
        self._board[row, column] = self._turn
        self._turn = "O" if self._turn == "X" else "X"

    def winner(self):
        for line in LINES:
            marks = {self._board.get(field) for field in line}
            if len(marks) == 1 and None not in marks:
                return marks.pop()
        return None

    def is_over(self):
        return self.winner() is not None or len(self._board) == 9

    def __str__(self):
        return "\n".join("".join(self._board.get((row, column), ".") for column in range(3)) for row in range(3))
