"""Ids sort by time, never repeat, and are recognised by shape."""

from __future__ import annotations

import time

from masktune.contract.ids import calibration_id, is_id, new_id, pattern_judge_id


def test_ids_sort_by_time() -> None:
    first = new_id("job")
    time.sleep(0.002)
    assert first < new_id("job")


def test_ids_do_not_repeat() -> None:
    assert len({new_id("mdl") for _ in range(2000)}) == 2000


def test_the_shape_is_recognised() -> None:
    assert is_id(new_id("ds"), "ds")
    assert not is_id(new_id("ds"), "job")
    assert not is_id("ds_../../etc/passwd", "ds")
    assert not is_id("champion", "mdl")


def test_a_calibration_has_one_id_a_job_a_model_and_a_resumption() -> None:
    job, model = new_id("job"), new_id("mdl")
    assert calibration_id(job, model) == calibration_id(job, model, 0)
    ids = {calibration_id(job, model), calibration_id(job, new_id("mdl")), calibration_id(job, model, 1)}
    assert len(ids) == 3
    assert is_id(calibration_id(job, model), "cal")


def test_a_judge_of_patterns_has_one_id_a_job_and_a_resumption() -> None:
    job = new_id("job")
    assert pattern_judge_id(job) == pattern_judge_id(job, 0)
    assert len({pattern_judge_id(job), pattern_judge_id(new_id("job")), pattern_judge_id(job, 1)}) == 3
