from queue_of_tasks import TaskQueue


def test_order():
    queue = TaskQueue()
    for name, urgency in [("a", 1), ("b", 3), ("c", 2), ("d", 3)]:
        queue.add(name, urgency)
    assert [queue.take() for _ in range(5)] == ["b", "d", "c", "a", None]


def test_clear():
    queue = TaskQueue()
    queue.add("a")
    queue.clear()
    assert (len(queue), queue.take()) == (0, None)
    assert queue.peek() is None
