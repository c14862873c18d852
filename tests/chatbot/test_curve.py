"""What the lines of a training's progress add up to."""

from smile_async.chatbot.curve import Point, mean_loss, seconds_of


def test_the_loss_over_all_steps_weighs_each_line_by_its_steps() -> None:
    """1 step at 6.0, 3 at 4.0, 4 at 2.0: 26 / 8."""
    points = [
        Point(0, 0, eval_loss=9.0),
        Point(1, 0, 6.0),
        Point(4, 0, 4.0),
        Point(4, 0, eval_loss=5.0),
        Point(8, 1, 2.0),
    ]
    assert mean_loss(points) == 26 / 8
    assert mean_loss(points[:1]) is None


def test_time_is_that_of_the_last_line() -> None:
    assert seconds_of([Point(0, 0), Point(1, 0, seconds=3.0), Point(2, 0, seconds=7.5)]) == 7.5
    assert seconds_of([]) == 0
