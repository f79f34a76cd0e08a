import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.files.metadata import ControllerMetadata, FieldRecord, from_json, to_json
from metarl.policies.networks.mlp import GaussianMLP

NETWORK = GaussianMLP(2, (3,), 1)
METADATA = ControllerMetadata(
    method="maml",
    family="navigation-2d",
    task_fields=(FieldRecord("goal_x", -0.5, 0.5, "m"), FieldRecord("side", -1.0, 1.0, "", (-1.0, 1.0))),
    horizon=200,
    observation_low=(-math.inf, -1.0),
    observation_high=(math.inf, math.inf),
    action_low=(-1.0,),
    action_high=(1.0,),
    action_scale=0.1,
    inner_steps=1,
    episodes_per_step=20,
    discount=0.99,
    gae_lambda=1.0,
    adapted_to={"goal_x": 0.25, "side": -1.0},
)


def changed_json(**changes: object) -> str:
    content = {**json.loads(to_json(METADATA, NETWORK)), **changes}
    return json.dumps({name: value for name, value in content.items() if value is not ...})


def test_round_trip():
    assert from_json(to_json(METADATA, NETWORK)) == (METADATA, NETWORK)
    meta_trained = replace(METADATA, adapted_to=None)
    assert from_json(to_json(meta_trained, NETWORK)) == (meta_trained, NETWORK)


def test_the_json_is_one_that_every_language_reads():
    content = json.loads(to_json(METADATA, NETWORK), parse_constant=pytest.fail)
    assert content["observation_low"] == ["-inf", -1.0]
    assert content["observation_high"] == ["inf", "inf"]
    assert content["network"] == {
        "kind": "gaussian-mlp",
        "observation_size": 2,
        "hidden_sizes": [3],
        "action_size": 1,
        "initial_std": 1.0,
    }
    assert to_json(replace(METADATA, family="Ω-\ud800"), NETWORK).isascii()


def test_numbers_that_are_not_finite_come_back_as_strings_in_the_training_record():
    training = {"kl": math.nan, "returns": [math.inf, np.float64(-math.inf), 1.0], "best": {"kl": np.float64(math.nan)}}
    metadata, _ = from_json(to_json(replace(METADATA, training=training), NETWORK))
    assert metadata.training == {"kl": "nan", "returns": ["inf", "-inf", 1.0], "best": {"kl": "nan"}}


def nested(depth: int) -> dict[str, object]:
    record: dict[str, object] = {}
    for _ in range(depth):
        record = {"inner": record}
    return record


@pytest.mark.parametrize("training", [{"code": print}, {"array": np.zeros(2)}, {(1, 2): 3}, nested(100_000)])
def test_a_training_record_that_is_not_json_is_refused(training):
    with pytest.raises(ValueError, match="the training record of a controller must be plain JSON"):
        to_json(replace(METADATA, training=training), NETWORK)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '"maml"', "{}", "{]"])
def test_text_that_is_no_record(text):
    with pytest.raises(ValueError, match=r"metadata (is not JSON|must be an object|lacks)"):
        from_json(text)


@given(st.text())
def test_any_text_is_refused(text):
    with pytest.raises(ValueError, match="metadata"):
        from_json(text)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": ...}, "the metadata lacks 'family'"),
        ({"colour": 1}, "unknown field 'colour'"),
        ({"method": 1}, "method must be a string, got 1"),
        ({"horizon": 2.5}, "horizon must be a whole number, got 2.5"),
        ({"horizon": True}, "horizon must be a whole number, got True"),
        ({"horizon": "200"}, "horizon must be a whole number"),
        ({"horizon": -3}, "horizon must be at least 1"),
        ({"discount": None}, "discount must be a number"),
        ({"discount": "often"}, "discount must be a number, got 'often'"),
        ({"discount": 10**400}, "discount is too large"),
        ({"discount": False}, "discount must be a number"),
        ({"action_scale": "nan"}, "action_scale must be a finite number above 0"),
        ({"action_low": 1.0}, "action_low must be a list"),
        ({"action_low": [[1.0]]}, r"action_low\[0\] must be a number"),
        ({"action_low": ["nan"]}, "action_low must be as long"),
        ({"observation_high": [1.0]}, "observation_low must be as long as observation_high"),
        ({"task_fields": {"goal": 1}}, "task_fields must be a list"),
        ({"task_fields": [1]}, r"task_fields\[0\] must be an object"),
        ({"task_fields": [{"name": "goal"}]}, r"task_fields\[0\] lacks"),
        ({"adapted_to": [1.0]}, "adapted_to must be an object"),
        ({"adapted_to": {"goal": "left"}}, "adapted_to.goal must be a number"),
        ({"training": None}, "training must be an object"),
        ({"network": None}, "network must be an object"),
        ({"network": {}}, "network lacks"),
    ],
)
def test_values_of_wrong_types(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_json(changed_json(**change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "transformer"}, "network kind must be 'gaussian-mlp', got 'transformer'"),
        ({"action_size": 0}, "action_size must be at least 1"),
        ({"hidden_sizes": 3}, "hidden_sizes must be a list"),
        ({"hidden_sizes": [3.0]}, r"hidden_sizes\[0\] must be a whole number"),
        ({"initial_std": "inf"}, "initial_std must be a finite number above 0"),
        ({"depth": 3}, "unknown field 'depth'"),
    ],
)
def test_networks_that_are_none(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_json(changed_json(network={"kind": "gaussian-mlp", **asdict(NETWORK), **change}))
