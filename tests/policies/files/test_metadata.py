import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.policies.files.controller_file import from_json, to_json
from metarl.policies.files.metadata import ControllerMetadata, FieldRecord
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
    assert content["compression"] is None
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


@pytest.mark.parametrize(
    "training", [{"code": print}, {"array": np.zeros(2)}, {"one": {(1, 2): 3}}, nested(100_000), {"seed": 10**5000}]
)
def test_a_training_record_that_is_not_json_is_refused(training):
    with pytest.raises(ValueError, match="the training record of a controller must be plain JSON"):
        to_json(replace(METADATA, training=training), NETWORK)


def test_what_could_not_be_read_is_not_written():
    with pytest.raises(ValueError, match="the metadata must be JSON that is not nested deeply"):
        to_json(replace(METADATA, training=nested(300)), NETWORK)


def test_numbers_of_numpy_become_those_of_python():
    numbers = {"horizon": np.int64(200), "discount": np.float32(0.5), "adapted_to": {"goal_x": np.float64(0.25)}}
    metadata, network = replace(METADATA, **numbers), GaussianMLP(np.int32(2), [np.int64(3)], 1)
    assert type(metadata.horizon) is int and type(metadata.discount) is float
    assert from_json(to_json(metadata, network)) == (metadata, NETWORK)
    record = replace(METADATA, training={"seed": np.int64(3), "loss": np.float32(0.5)})
    assert from_json(to_json(record, NETWORK))[0].training == {"seed": 3, "loss": 0.5}


def test_a_path_that_is_no_text_is_kept_as_its_escape():
    metadata, _ = from_json(to_json(replace(METADATA, family="run-\udcff", training={"\udcff": 1}), NETWORK))
    assert metadata.family == "run-\\udcff" and metadata.training == {"\\udcff": 1}


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '"maml"', "{}", "{]"])
def test_text_that_is_no_record(text):
    with pytest.raises(ValueError, match=r"metadata (is not JSON|must be an object)"):
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
        ({"discount": 10**400}, "discount must be a number, got 1000000"),
        ({"discount": False}, "discount must be a number"),
        ({"action_scale": "nan"}, "action_scale must be a finite number, got"),
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
        ({"task_fields": [{"name": "goal", "low": 1, "high": 0}]}, r"task_fields\[0\]: .* low <= high, got 1 and 0"),
        ({"task_fields": [{"name": "goal", "low": 0, "high": "inf"}]}, r"task_fields\[0\].high must be a finite"),
        ({"task_fields": [{"name": "a", "low": 0, "high": 1, "choices": [2]}]}, r"must lie in \[0, 1\], got 2"),
        ({"task_fields": [{"name": "a", "low": 0, "high": 1}] * 2}, "two fields named 'a'"),
        ({"adapted_to": {"goal": "nan"}}, "adapted_to.goal must be a finite number"),
        ({"horizon": 10**12}, "horizon must be at most 10000000, got 1000000000000"),
        ({"episodes_per_step": 10**12}, "episodes_per_step must be at most 1000000"),
        ({"inner_steps": 10**4}, "inner_steps must be at most 1000"),
        ({"family": "a" * 201}, "family must be at most 200 characters long, got 'aaa"),
        ({"action_high": ["nan"]}, "action_low must be as long as action_high and nowhere above it"),
        ({"action_low": ["inf"], "action_high": ["inf"]}, "must have finite float32 numbers between them"),
        ({"action_low": [1e300], "action_high": [1e301]}, "must have finite float32 numbers between them"),
        ({"action_low": ["-inf"], "action_high": ["-inf"]}, "must have finite float32 numbers between them"),
        ({"action_scale": 1e300}, r"action_scale must be at most 1e.09, got 1e.300"),
        (
            {"compression": {"kind": "masks", "version": 7, "x": 1}},
            "this metarl does not read the compression 'masks' of version 7: upgrade",
        ),
        ({"compression": {"kind": "masks"}}, "compression lacks 'version'"),
        ({"compression": "masks"}, "compression must be an object"),
        ({"network": None}, "must be an object with an object 'network'"),
        ({"network": {}}, "network kind must be"),
    ],
)
def test_values_of_wrong_types(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_json(changed_json(**change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "transformer"}, "network kind must be 'gaussian-mlp' or 'categorical-mlp' or .*, got 'transformer'"),
        ({"action_size": 0}, "action_size must be at least 1"),
        ({"hidden_sizes": 3}, "hidden_sizes must be a list"),
        ({"hidden_sizes": [3.0]}, r"hidden_sizes\[0\] must be a whole number"),
        ({"initial_std": "inf"}, "initial_std must be a finite number, got"),
        ({"depth": 3}, "unknown field 'depth'"),
    ],
)
def test_networks_that_are_none(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_json(changed_json(network={"kind": "gaussian-mlp", **asdict(NETWORK), **change}))
