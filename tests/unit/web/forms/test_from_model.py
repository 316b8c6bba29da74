"""Forms of jobs that start from a model: what they offer."""

from __future__ import annotations

from typing import get_args

from masktune.contract.hyperparameters import GroupSource, RetrainConfig
from web.forms.from_model import GROUPS


def test_every_source_of_groups_is_offered_the_default_first() -> None:
    offered = list(GROUPS)
    assert offered[0] == ""  # leaves the field out of the request
    assert {*offered[1:], RetrainConfig().groups} == set(get_args(GroupSource))
