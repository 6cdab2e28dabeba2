"""Who is ready, and who goes on."""

from service.readiness import MAX_MISSED, READY, STARTING, Pulse, Readiness


def test_one_process_is_ready_once_it_says_so() -> None:
    readiness = Readiness()
    assert not readiness()
    readiness.set(True)
    assert readiness()


def test_a_process_that_stands_still_is_not_ready_until_it_goes_on() -> None:
    ready, beats = [READY, STARTING], [0, 0]
    ours, theirs = Readiness(ready, 0, beats), Readiness(ready, 1, beats)
    theirs.set(True)
    for _ in range(MAX_MISSED - 1):
        ours.beat()
    assert ours()
    ours.beat()
    assert (ours(), ours.is_ready(0), ours.is_ready(1)) == (False, True, False)
    theirs.beat()
    assert theirs()
    ours.beat()
    assert ours()


def test_a_pulse_counts_the_looks_since_the_last_beat() -> None:
    beats = [0, 0]
    pulse = Pulse(beats)
    for _ in range(3):
        beats[1] += 1
        pulse.look()
    assert pulse.missed == [3, 0]
