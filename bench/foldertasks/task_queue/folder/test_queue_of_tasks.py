from queue_of_tasks import TaskQueue


def test_nothing():
    queue = TaskQueue()
    assert len(queue) == 0
    assert queue.take() is None
    assert queue.peek() is None


def test_peek_leaves_the_task_there():
    queue = TaskQueue()
    queue.add("eat")
    assert queue.peek() == "eat"
    assert len(queue) == 1


def test_the_most_urgent_is_taken_first():
    queue = TaskQueue()
    queue.add("run", 9)
    queue.add("eat", 1)
    assert queue.take() == "run"
    assert len(queue) == 1


def test_all_are_taken_in_order():
    queue = TaskQueue()
    queue.add("read", 2)
    queue.add("run", 9)
    queue.add("eat", 1)
    assert [queue.take(), queue.take(), queue.take()] == ["run", "read", "eat"]
