"""The loop of somebody who writes a prompt: what the model sees, what it writes, what each filter says."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from m2l import preview
from m2l.build import STORE
from m2l.engine.base import ModelFile
from m2l.engine.fake import Fake
from m2l.records import Completion, FinishReason, Request
from m2l.store import Store
from tests.command import m2l
from tests.conftest import ROOT, Edit, copy_project

DEEPENING = "conf/operator/general_deepening.yaml"


def look(project: Path, *arguments: str) -> list[dict[str, object]]:
    """Return what a preview prints for scripts."""
    done = m2l(project, "preview", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def texts(record: dict[str, object]) -> list[dict[str, object]]:
    """Return the calls of a record."""
    assert isinstance(record["texts"], list)
    return record["texts"]


def test_an_operator_is_shown_without_a_conversation(project: Path) -> None:
    """The operator alone: its instruction and the answer, with the directive in the prompt."""
    records = look(project, "eng_Latn", "--operator", "general_deepening", "--records", "2")
    assert [record["operator"] for record in records] == ["general_deepening"] * 2
    assert all([text["step"] for text in texts(record)] == ["evolve", "respond"] for record in records)
    assert all("one more step of reasoning" in str(texts(record)[0]["seen"]) for record in records)


def test_an_operator_and_a_variation_that_no_recipe_has(project: Path) -> None:
    """What the recipe leaves out can be looked at in any language, and every turn of it is there."""
    options = ("--operator", "translation_dialect", "--variation", "recall_information")
    [record] = look(project, "tam_Taml", *options)
    assert (record["task"], record["variation"]) == ("translation", "recall_information")
    steps = [text["step"] for text in texts(record)]
    assert steps[:4] == ["evolve", "respond", "user turn 2", "assistant turn 2"]
    assert len(steps) % 2 == 0


def test_a_seed_is_chosen_by_its_number_or_its_id(project: Path) -> None:
    """Any seed of the file can be chosen, those beyond the recipe's number, too."""
    lines = (project / "data/seeds/starter/eng_Latn.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    third = [json.loads(line) for line in lines if '"general"' in line][2]
    [record] = look(project, "eng_Latn", "general", "--operator", "general_deepening", "--seed", "3")
    assert record["seed"] == third["instruction"]
    by_id = look(
        project, "eng_Latn", "general", "--operator", "general_deepening", "--seed", str(record["seed_id"])[:6]
    )
    assert by_id == [record]


def test_each_filter_says_what_it_thinks(project: Path, edit: Edit) -> None:
    """Every filter of conf/ is named; the one that must reject does so with its reason, and nothing else with it."""
    edit("conf/filter/length.yaml", "max_words: 400", "max_words: 1")
    [record] = look(project, "eng_Latn", "--operator", "general_deepening")
    chosen = re.search(r"- filter:.*?\n(.*?)      #", (project / "conf/config.yaml").read_text(), flags=re.DOTALL)
    assert chosen is not None
    filters = record["filters"]
    assert isinstance(filters, dict)
    assert list(filters) == re.findall(r"- (\w+)", chosen[1])
    assert filters["length"] == ["too_long"]
    assert filters["blank"] == []
    shown = m2l(project, "preview", "eng_Latn", "--operator", "general_deepening").stdout
    assert "\nfilters     rejected\n  rejects   length: too_long\n" in shown


def test_messages_of_a_chat_are_shown(project: Path) -> None:
    """A chat model's messages are shown by role, and where a server applies the template, that is said."""
    done = m2l(project, "preview", "eng_Latn", "--operator", "general_deepening", "frame=chat")
    assert "  message   [user] Rewrite the instruction" in done.stdout
    assert "  model saw (the server applies its own chat template)" in done.stdout


@pytest.mark.model
def test_the_text_after_the_chat_template_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chat model in this process the text is shown that its GGUF's own template makes of the messages."""
    project = tmp_path / "project"
    copy_project(project)
    monkeypatch.chdir(project)
    (project / "cache/models").rmdir()
    (project / "cache/models").symlink_to(ROOT / "cache/models")
    [record] = look(project, "eng_Latn", "--operator", "general_deepening", "model=smollm2_135m")
    first = texts(record)[0]
    assert isinstance(first["messages"], list)
    content = first["messages"][0]["content"]
    assert not first["built"]
    assert str(first["seen"]).endswith(f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n")


class TwoWays(Fake):
    """An engine with a quicker way to answer one request, which draws alike and says that it was quick."""

    def __init__(self, model: ModelFile, quick: bool) -> None:
        super().__init__(model)
        self.quick = quick

    @classmethod
    def for_one(cls, target: dict[str, object]) -> dict[str, object]:
        return target | {"quick": True}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        for index, request in enumerate(requests):
            way = "quick" if self.quick else "thorough"
            yield index, Completion(text=f"{way} {request.rng_seed}", finish_reason=FinishReason.STOP)


@pytest.fixture
def two_ways(project: Path) -> tuple[str, ...]:
    """What is looked at on an engine with two ways."""
    (project / "conf/engine/two_ways.yaml").write_text(
        f"# @package engine\n_target_: {TwoWays.__module__}.{TwoWays.__name__}\nquick: false\n"
    )
    return ("eng_Latn", "--operator", "general_deepening", "engine=two_ways")


def test_a_preview_is_quick_and_no_build_reads_it(project: Path, two_ways: tuple[str, ...]) -> None:
    """What a preview writes stands under keys that no build has, drawn as the build draws; a build's text is shown."""
    [quick] = look(project, *two_ways)
    assert [(str(text["answer"])[:5], text["built"]) for text in texts(quick)] == [("quick", False)] * 2
    [built] = look(project, *two_ways, "engine.quick=false")
    assert [(str(text["answer"])[:8], text["built"]) for text in texts(built)] == [("thorough", True)] * 2
    assert str(texts(quick)[0]["answer"]).split()[1] == str(texts(built)[0]["answer"]).split()[1]
    assert look(project, *two_ways) == [built]
    shown = m2l(project, "preview", *two_ways).stdout
    assert shown.count("answer tokens, stop, as in the build\n") == 2
    with Store(project / STORE) as store:
        stored = store.requests([key for key, *_ in store.entries()]).values()
    assert sorted((request.backend, completion.text.split()[0]) for request, completion in stored) == [
        ("fake 1", "thorough"), ("fake 1", "thorough"), ("fake 1, previewed", "quick"), ("fake 1, previewed", "quick"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["eng_Latn", "--operator", "general_deepning"],
            "BuildError: command line: unknown operator 'general_deepning'. "
            "Did you mean 'general_deepening'? Available: ",
        ),
        (
            ["eng_Latn", "summarization", "--operator", "general_deepening"],
            "BuildError: command line: operator 'general_deepening' applies to general, not to 'summarization'. "
            "Name one of these, or leave the task out.\n",
        ),
        (
            ["eng_Latn", "general", "--seed", "99"],
            "BuildError: command line: no seed '99' among the 8 of task 'general' in eng_Latn. Give its number, from 1 "
            "to 8, or at least 4 digits of its id.\n",
        ),
    ],
)
def test_what_cannot_be_previewed_is_one_line(project: Path, arguments: list[str], message: str) -> None:
    """A name that does not exist or does not fit is said in one line."""
    done = m2l(project, "preview", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(message)


def test_only_the_language_asked_for_is_composed(project: Path) -> None:
    """A broken file of another language does not stop the loop."""
    path = project / "conf/language/hin_Deva.yaml"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\nname: [\n", encoding="utf-8")
    assert len(look(project, "eng_Latn", "general")) == 1


def test_generated_text_cannot_steer_the_terminal() -> None:
    """Escape sequences in what a model wrote are printed, not sent."""
    text = preview.Text(
        step="evolve", messages=(), seen="Hello \x1b[2J", answer="\x1b]0;title\x07Bye\r\nagain", finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, error=None, built=False,
    )  # fmt: skip
    record = preview.Record(
        row_id="0", language="eng_Latn", task="general", operator="o", variation="", seed_id="0", seed="\x9bSeed",
        origin="", texts=(text,), filters={}, error=None,
    )  # fmt: skip
    shown = "\n".join(preview.lines([record], prompts=True))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert "\\x1b]0;title\\x07Bye\\x0d\n            again" in shown


@pytest.fixture
def watching(project: Path) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str]"]]:
    """A preview that watches, and the lines that it prints to either stream."""
    command = [sys.executable, "-m", "m2l", "preview", "eng_Latn", "--operator", "general_deepening", "--watch"]
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said: queue.Queue[str] = queue.Queue()
    stdout = process.stdout
    assert stdout is not None

    def read() -> None:
        for line in stdout:
            said.put(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield process, said
    process.kill()
    process.wait()
    reader.join()
    stdout.close()


def until_it_waits(said: "queue.Queue[str]") -> list[str]:
    """Return the lines up to the one that says that it waits for the next save."""
    found: list[str] = []
    while not (found and "Watching conf/" in found[-1]):
        found.append(said.get(timeout=120))
    return found


def test_a_save_shows_the_new_prompt_and_a_mistake_is_one_line(
    project: Path, edit: Edit, watching: tuple["subprocess.Popen[str]", "queue.Queue[str]"]
) -> None:
    """Each save is shown; a YAML that is wrong for now is one line and the watching goes on; Ctrl-C ends it."""
    process, said = watching
    assert not any("in verse" in line for line in until_it_waits(said))
    edit(DEEPENING, "Write only the new instruction.", "Write it in verse.")
    shown = until_it_waits(said)
    assert shown[1].endswith(f" {DEEPENING}\n")
    assert sum("Write it in verse." in line for line in shown) == 1
    edit(DEEPENING, "family: depth", "family: [depth")
    _, _, mistake, waits = until_it_waits(said)
    assert mistake.startswith(f"ConfigError: {DEEPENING}:")
    assert "Watching" in waits
    edit(DEEPENING, "family: [depth", "family: depth")
    assert sum("Write it in verse." in line for line in until_it_waits(said)) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
