"""The progress line: what it says, where it says it, and the time that is left."""

import os
import pty
import sys

import pytest

from pretrain.evaluation import in_words as evaluation_in_words
from pretrain.progress import in_words
from sharding.progress import Aside, ProgressLine, duration, seconds_left


def test_the_time_left_is_the_pace_of_this_start():
    """What was done before a resume took this start no time."""
    assert seconds_left(20.0, 0, 10, 100) == 180.0
    assert seconds_left(20.0, 900, 910, 1000) == 180.0


def test_work_aside_is_no_pace_and_comes_again():
    """10 steps in 50 s, of which 30 s were one evaluation: 90 steps of 2 s, and one after 50 and after 100."""
    assert seconds_left(50.0, 0, 10, 100, [Aside(30.0, 1, 50)]) == 90 * 2 + 2 * 30
    # the end is not a multiple: after 50, 100 and at 120
    assert seconds_left(50.0, 0, 10, 120, [Aside(30.0, 1, 50)]) == 110 * 2 + 3 * 30
    # a mean of several, and two kinds of work
    asides = [Aside(40.0, 2, 100), Aside(1.0, 1, 1000)]
    assert seconds_left(61.0, 0, 100, 1000, asides) == pytest.approx(900 * 0.2 + 9 * 20 + 1)


def test_the_line_counts_what_is_aside(capsys):
    with ProgressLine("pretrain", 4) as line:
        with line.aside("evaluation", 2):
            line.say("step 0")
        line.advance(1, "a note")
        line.advance(3, "the end")
    told = capsys.readouterr().err.splitlines()
    assert told == ["step 0", "pretrain: 4 of 4  the end"]
    assert line._aside["evaluation"].times == 1


def test_one_live_line_in_a_terminal(monkeypatch):
    """A pseudo-terminal: the line is drawn over itself, and what is said stays above it."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        with ProgressLine("pretrain", 4) as line:
            line.advance(2, "loss 2.000")
            line.say("step 2  held out")
            line.advance(2, "loss 1.000")
        terminal.flush()
        shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "\x1b[" in shown
    assert "\r" in shown
    assert "step 2  held out" in shown
    assert "loss 1.000" in shown


def test_what_a_window_says():
    values = {"loss": 3.25, "chance": 6.93, "molecules_per_s": 1234.5, "data_wait": 0.012, "memory_gb": 12.34}
    said = "loss 3.250 (chance 6.93)  1,234 molecules/s  data wait 1.2%  12.3 GB"
    assert in_words(values | {"skipped": 0}) == said
    assert in_words(values | {"skipped": 1200}) == f"{said}  1,200 skipped"


def test_what_an_evaluation_says():
    found = {"graph_recall_at_1": 0.5, "text_recall_at_1": 0.25, "chance": 0.01, "gallery": 100}
    said = "graph recall@1 50.0%, text recall@1 25.0%  (chance 1.00% of 100)"
    assert evaluation_in_words(found) == said
    probe = {"probe": 0.8, "probe_metric": "roc_auc", "probe_baseline": 0.5}
    assert evaluation_in_words(found | probe) == f"{said}  probe roc_auc 0.800 (0.500 without it)"


def test_durations():
    assert [duration(seconds) for seconds in (42, 185, 7800)] == ["42 s", "3 min 05 s", "2 h 10 min"]
