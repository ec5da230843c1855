"""Progress says what is true: no rate before anything was measured, and none of what others had done before."""

from io import StringIO

from vaylix_resp.tools.output import Progress


def test_lines_of_a_log():
    now, stream = [100.0], StringIO()
    progress = Progress("copying", 1000, "keys", stream, lambda: now[0], before=400)
    for passes, done in ((0.0, 400), (1.0, 500), (4.0, 600), (5.0, 800)):
        now[0] += passes
        progress.say(done)
    progress.end(1000)
    assert stream.getvalue().splitlines() == [
        "copying: 400 of 1,000 keys",
        "copying: 600 of 1,000 keys, 40 a second, 10 s to go",
        "copying: 800 of 1,000 keys, 40 a second, 5 s to go",
        "copying: 1,000 of 1,000 keys, 60 a second",
    ]


def test_nothing_is_promised_while_nothing_goes_on():
    now, stream = [100.0], StringIO()
    progress = Progress("copying", 1000, "keys", stream, lambda: now[0], before=400)
    now[0] += 5
    progress.say(400, ", waiting")
    assert stream.getvalue() == "copying: 400 of 1,000 keys, 0 a second, waiting\n"
