"""Model repositories: what the Hub reads of them, and what is sent where."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import FAMILY, TINY, fails, succeeds

from metarl.experiments.zoo import repository
from metarl.policies.files.pretrained import filed_by, pretrained_files

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
SHIPPED = "half-cheetah-velocity/p-meta"


def test_a_repository_holds_the_controller_and_a_card_that_the_hub_reads(tmp_path: Path) -> None:
    succeeds("zoo", "export", SHIPPED, "--out", tmp_path / "model")
    card = huggingface_hub.ModelCard.load(tmp_path / "model" / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "metarl")
    assert card.data.pipeline_tag == "reinforcement-learning" and "p-meta" in card.data.tags
    after = card.data.eval_results[-1]
    assert after.metric_value == "-63.9 +/- 2.7" and "after 1 inner step," in after.metric_name
    assert after.dataset_name == "400 unseen tasks of half-cheetah-velocity"
    assert (tmp_path / "model" / "controller.safetensors").read_bytes() == pretrained_files()[SHIPPED].read_bytes()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["method"] == "p-meta"
    assert "exists already" in fails("zoo", "export", SHIPPED, "--out", tmp_path / "model")
    assert "controller" in succeeds("inspect", tmp_path / "model")  # the folder is taken like a run's


def test_a_controller_of_ones_own_has_neither_license_nor_returns_that_nobody_gave(tmp_path: Path) -> None:
    succeeds("train", FAMILY, "--method", "anil", *TINY, "--out", tmp_path / "run")
    succeeds("zoo", "export", tmp_path / "run", "--out", tmp_path / "model")
    data = huggingface_hub.ModelCard.load(tmp_path / "model" / "README.md").data
    assert data.license == "unknown" and data.eval_results is None
    text = (tmp_path / "model" / "README.md").read_text()
    assert "Not evaluated on unseen tasks" in text and "for the owner of this controller to say" in text


def test_the_metadata_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    succeeds("zoo", "export", SHIPPED, "--out", tmp_path / "model")

    def no_json(constant: str) -> None:
        raise AssertionError(constant)

    text = (tmp_path / "model" / "config.json").read_text()
    config = json.loads(text, parse_constant=no_json)
    assert config["observation_low"][0] == "-inf" and config["network"]["kind"] == "gaussian-mlp"


@pytest.mark.parametrize("path", ["home/alice/cheetah", "home/alice/cheetah/controller.safetensors"])
def test_what_is_published_does_not_tell_where_it_lay(path: str, tmp_path: Path) -> None:
    run = tmp_path / "home" / "alice" / "cheetah"
    run.mkdir(parents=True)
    (run / "controller.safetensors").write_bytes(pretrained_files()[SHIPPED].read_bytes())
    evaluation = {"tasks": 9, "seed": 1, "returns": [{"steps": 0, "mean": -1.0, "ci95": 0.5}]}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    succeeds("zoo", "export", tmp_path / path, "--out", tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    assert "\n# cheetah\n" in text and "\n- name: cheetah\n" in text and "alice" not in text


def test_a_file_under_the_name_of_one_that_ships_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(SHIPPED).parent.mkdir()
    Path(SHIPPED).write_bytes(pretrained_files()["half-cheetah-velocity/maml"].read_bytes())
    succeeds("zoo", "export", SHIPPED, "--out", "model")
    text = Path("model/README.md").read_text()
    assert "license: unknown" in text and "for the owner of this controller to say" in text
    assert "commit that filed it" not in text and "-63.9" not in text


@pytest.mark.parametrize("damage", ['{"tasks": 3', "[]", '{"tasks": 3, "seed": 1}'])
def test_an_evaluation_that_is_none_is_refused(damage: str, tmp_path: Path) -> None:
    (tmp_path / "controller.safetensors").write_bytes(pretrained_files()[SHIPPED].read_bytes())
    (tmp_path / "evaluation.json").write_text(damage)
    says = fails("zoo", "export", tmp_path, "--out", tmp_path / "model")
    assert "evaluation.json is not what metarl evaluate --json writes" in says and not (tmp_path / "model").exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return what a Hub that is not there has been asked for."""
    asked: list[tuple[object, ...]] = []

    class Hub:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            asked.append((name, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> SimpleNamespace:
            asked.append((repo_id, sorted(each.name for each in folder_path.iterdir())))
            return SimpleNamespace(commit_url="https://hub.example/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    return asked


def test_what_is_pushed_is_the_exported_folder(hub: list[tuple[object, ...]]) -> None:
    says = succeeds("zoo", "push", SHIPPED, "--repo", "me/cheetah", "--private")
    assert says == "uploaded: https://hub.example/commit/1\n"
    assert hub == [
        ("me/cheetah", True, True),
        ("me/cheetah", ["README.md", "config.json", "controller.safetensors"]),
    ]


@pytest.mark.parametrize(
    "name", ["cheetah", "me/chee tah", "me/a/b", "/x", "me/", "me/a--b", "me/" + "x" * 100, "me/.."]
)
def test_a_malformed_name_is_refused_before_anything_is_sent(name: str, hub: list[tuple[object, ...]]) -> None:
    assert "a repository is USER/NAME" in fails("zoo", "push", SHIPPED, "--repo", name)
    assert hub == []


def test_without_a_login_nothing_is_sent(hub: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "log in with hf auth login, or set HF_TOKEN" in fails("zoo", "push", SHIPPED, "--repo", "me/cheetah")
    assert hub == []


def test_without_a_connection_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        __module__ = "httpx"

    def fail(*_: object, **__: object) -> None:
        raise ConnectError("no route")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    says = fails("zoo", "push", SHIPPED, "--repo", "me/cheetah")
    assert "me/cheetah: the Hugging Face Hub cannot be reached: no route" in says


@pytest.mark.parametrize(("status", "why"), [(403, "the login may not write there"), (500, "something broke")])
def test_what_the_hub_refuses_is_told(status: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    class Answer(HfHubHTTPError):
        def __init__(self) -> None:
            Exception.__init__(self, "something broke")
            self.response = SimpleNamespace(status_code=status)

    def fail(*_: object, **__: object) -> None:
        raise Answer

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    assert why in fails("zoo", "push", SHIPPED, "--repo", "me/cheetah")


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    def fail(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    assert "nothing is uploaded while HF_HUB_OFFLINE is set" in fails("zoo", "push", SHIPPED, "--repo", "me/cheetah")


def test_an_image_network_has_no_card() -> None:
    path = Path(__file__).parents[2] / "fixtures" / "controllers" / "version-2" / "conv4.safetensors"
    assert "this is an image network" in fails("zoo", "show", path)


def test_every_controller_that_ships_is_listed_with_its_returns(tmp_path: Path) -> None:
    printed = succeeds("zoo", "list", "--json", tmp_path / "zoo.json")
    record = json.loads((tmp_path / "zoo.json").read_text())["controllers"]
    assert [each["name"] for each in record] == [*pretrained_files()]
    assert all(each["tasks"] == 400 and len(each["returns"]) >= 2 for each in record)
    assert all(filed_by(name) for name in pretrained_files()), "policies/pretrained/commits.json lacks a commit"
    assert "-63.9 ± 2.7" in printed and "70.0" in printed


def test_names_of_repositories_that_the_hub_takes() -> None:
    for name in ("me/cheetah", "my-team/p-meta_2.0"):
        repository.check_repository(name)
