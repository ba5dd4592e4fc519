"""A queue of tasks, the most urgent first."""


class TaskQueue:
    """Tasks by urgency: a larger number is more urgent. Of equals, the one added first comes first."""

    def __init__(self):
        self._tasks = []

    def __len__(self):
        return len(self._tasks)

    def add(self, name, urgency=0):
        """Put a task into the queue."""
        self._tasks.append((urgency, name))

    def peek(self):
        """The name of the most urgent task; None when there is none."""
        if not self._tasks:
            return None
        return max(self._tasks, key=lambda task: task[0])[1]

    def take(self):
        """Remove the most urgent task and return its name; None when there is none."""
        if not self._tasks:
            return None
        return self._tasks.pop()[1]

    def clear(self):
        """Remove all tasks."""
        self._tasks = []
