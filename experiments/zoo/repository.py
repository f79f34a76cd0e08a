"""A controller as a folder that a model repository of the Hugging Face Hub consists of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.core.atomic import write_atomically
from metarl.core.distribution import DISTRIBUTION
from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.experiments.analysis.model_card import Sources, evaluation_record, model_card
from metarl.policies.files.controller_file import to_json
from metarl.policies.files.pretrained import CONTROLLER, find_controller

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CARD = "README.md"
CONFIG = "config.json"
TAGS = ["reinforcement-learning", "meta-learning", "on-device-adaptation", "robotics"]
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
LONGEST = 96  # characters of a repository's name, the Hub's own limit
LOGIN = "log in with hf auth login, or set HF_TOKEN"


def write_repository(sources: Sources, folder: Path) -> None:
    """Write the card, the controller's file and its metadata into a new folder.

    The card of a controller of one's own has the last part of its path as its name: strangers read it. Raise Refusal
    if there is something at that path.
    """
    from huggingface_hub import ModelCard

    file, controller = find_controller(sources.name), sources.controller
    if not sources.ships:
        sources = replace(sources, name=(file.resolve().parent if file.name == CONTROLLER else file).stem)
    header = card_data(sources).to_yaml()
    card = f"---\n{header}\n---\n\n{model_card(sources)}\n{usage(sources)}"
    ModelCard(card)  # reads its own header, or raises an error
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise Refusal(f"{folder} exists already: choose a new folder") from None
    write_atomically(folder / CONTROLLER, file.read_bytes())
    metadata = json.dumps(json.loads(to_json(controller.metadata, controller.network)), indent=2)
    write_atomically(folder / CONFIG, f"{metadata}\n".encode())
    write_atomically(folder / CARD, card.encode())


def card_data(sources: Sources) -> ModelCardData:
    """Return the header of the card: what the Hub sorts models by, and the returns on unseen tasks."""
    from huggingface_hub import EvalResult, ModelCardData

    metadata, evaluation = sources.controller.metadata, evaluation_record(sources.folder)
    tasks, scores = (evaluation["tasks"], evaluation["returns"]) if evaluation else (0, ())
    results = [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="few-shot adaptation",
            dataset_type=metadata.family,
            dataset_name=f"{tasks} unseen tasks of {metadata.family}",
            metric_type="mean_return",
            metric_name=f"mean return after {plural(score['steps'], 'inner step')}, with its 95 % interval over tasks",
            metric_value=f"{score['mean']:.1f} +/- {score['ci95']:.1f}",
        )
        for score in scores
    ]
    return ModelCardData(
        license="mit" if sources.ships else "unknown",
        library_name="metarl",
        pipeline_tag="reinforcement-learning",
        tags=[*TAGS, metadata.family, metadata.method],
        model_name=sources.name if results else None,
        eval_results=results or None,
    )


def usage(sources: Sources) -> str:
    """Return the card's section that says how to use the files."""
    known = f" In the zoo of metarl it is `{sources.name}`." if sources.ships else ""
    return f"""## Use

```bash
pip install {DISTRIBUTION} huggingface-hub
hf download USER/REPOSITORY {CONTROLLER} --local-dir model
metarl inspect model
metarl evaluate model --tasks 40
```

The file holds tensors and JSON; loading it runs no code.{known}
"""


def check_repository(name: str) -> None:
    """Raise Refusal unless a name is USER/NAME as the Hub takes it."""
    if not REPOSITORY.fullmatch(name) or len(name) > LONGEST or ".." in name or "--" in name or name[-1] in ".-":
        raise Refusal(f"a repository is USER/NAME, of letters, digits, -, _ and ., got '{name}'")


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload a folder with the login that ``huggingface_hub`` finds, and return the commit's address.

    A repository that is not there is made. Raise Refusal without a login, a connection or the right to write.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise Refusal(f"the Hugging Face Hub takes no files from strangers: {LOGIN}")
    api = HfApi()
    with _explained(repository):
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload a controller of metarl"
        )
    return str(commit.commit_url)


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn what the Hub or the network say into a sentence."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise Refusal(f"{repository}: nothing is uploaded while HF_HUB_OFFLINE is set") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = f"the login may not write there: {LOGIN}" if status in (401, 403) else str(error).splitlines()[0]
        raise Refusal(f"{repository}: the Hugging Face Hub answers with {status}, {why}") from None
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore")):  # which the library does not wrap
            raise
        raise Refusal(f"{repository}: the Hugging Face Hub cannot be reached: {error}") from None
