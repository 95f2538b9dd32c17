"""Bad input: the whole line that a person reads, exit code 2, and before a model loads."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import m2l
from tests.conftest import Edit

GGUF = b"GGUF" + b"\0" * 60


def write(file: str, content: str | bytes) -> Callable[[Path], None]:
    """Return what writes a file of a project."""

    def act(project: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_bytes(data)

    return act


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces a text in a file of a project."""

    def act(project: Path) -> None:
        text = (project / file).read_text(encoding="utf-8")
        assert old in text
        (project / file).write_text(text.replace(old, new), encoding="utf-8")

    return act


def remove(file: str) -> Callable[[Path], None]:
    """Return what removes a file of a project."""
    return lambda project: (project / file).unlink()


MODEL = "cache/models/gemma-3-270m-q4_k_m.gguf"
GET = "Get it with `m2l model get gemma3_270m`."
SEEDS = "data/seeds/starter/eng_Latn.jsonl"
DEEPENING = "conf/operator/general_deepening.yaml"

CASES = {
    "unknown language": (
        write("params.yaml", "languages: [eng_Latin]\noverrides: [engine=fake]\n"),
        [],
        "ConfigError: params.yaml: unknown language 'eng_Latin'. Did you mean 'eng_Latn'? Available: *",
    ),
    "unknown operator in a recipe": (
        replace("conf/recipe/starter.yaml", "- general_deepening", "- general_deepning"),
        [],
        "ConfigError: conf/recipe/starter.yaml: unknown operator 'general_deepning'. Did you mean "
        "'general_deepening'? Available: *",
    ),
    "unknown operator on the command line": (
        None,
        ["operator=[general_deepning]"],
        "ConfigError: override 'operator=[general_deepning]': unknown operator 'general_deepning'. Did you mean "
        "'general_deepening'? Available: *",
    ),
    "unknown task of an operator": (
        replace(DEEPENING, "[general]", "[generale]"),
        [],
        f"ConfigError: {DEEPENING}: unknown task 'generale'. Did you mean 'general'? Available: *",
    ),
    "unknown key": (
        replace(DEEPENING, "family: depth", "famly: depth"),
        [],
        f"ConfigError: {DEEPENING}: unknown key 'famly'. Did you mean 'family'? Available: applies_to, "
        "checks, family, keeps_answer, prompt.",
    ),
    "unknown key of a filter": (
        replace("conf/filter/length.yaml", "max_words", "max_word"),
        [],
        "ConfigError: conf/filter/length.yaml: unknown key 'max_word'. Did you mean 'max_words'? Available: "
        "max_words, min_assistant_words, min_user_words, of_language.",
    ),
    "missing key": (
        replace(DEEPENING, "family: depth\n", ""),
        [],
        f"ConfigError: {DEEPENING}: it missing required field `family`. Correct it there.",
    ),
    "wrong type": (
        replace("conf/recipe/starter.yaml", "seeds_per_task: 2", "seeds_per_task: two"),
        [],
        "ConfigError: conf/recipe/starter.yaml with recipe.repairs=0: Expected `int`, got `str` - at `seeds_per_task`. "
        "Correct it there.",
    ),
    "wrong type on the command line": (
        None,
        ["model.sampling.temperature=hot"],
        "ConfigError: conf/model/gemma3_270m.yaml with model.sampling.temperature=hot: Expected `float`, got `str` "
        "- at `sampling.temperature`. Correct it there.",
    ),
    "wrong type in a filter": (
        replace("conf/filter/length.yaml", "max_words: 400", "max_words: many"),
        [],
        "ConfigError: conf/filter/length.yaml: Expected `int`, got `str` - at `max_words`. Correct it there.",
    ),
    "a share in per cent in a filter": (
        None,
        ["filter.foreign_share.tolerance.fil_Latn=20"],
        "ConfigError: conf/filter/foreign_share.yaml: Expected `float` <= 1.0 - at `tolerance[...]`. Correct it there.",
    ),
    "an n-gram of no words": (
        replace("conf/filter/repetition.yaml", "{2: ", "{0: "),
        [],
        "ConfigError: conf/filter/repetition.yaml: Expected `int` >= 1 - at `key` in `top_ngram`. Correct it there.",
    ),
    "patterns of files that are one text": (
        None,
        ["+filter=contamination", "filter.contamination.files=data/reference/benchmarks/*"],
        "ConfigError: conf/filter/contamination.yaml: Expected `object | array`, got `str` - at `files`. "
        "Correct it there.",
    ),
    "wrong type in a check of an operator": (
        replace(DEEPENING, "max_similarity: 0.85", "max_similarity: much"),
        [],
        f"ConfigError: {DEEPENING}: Expected `float`, got `str` - at `max_similarity`. Correct it there.",
    ),
    "wrong type in an engine": (
        None,
        ["engine=llama", "engine.n_ctx=lots"],
        "ConfigError: conf/engine: Expected `int`, got `str` - at `n_ctx`. Correct it there.",
    ),
    "no slots": (
        None,
        ["engine=llama", "engine.n_slots=0"],
        "ConfigError: conf/engine: Expected `int` >= 1 - at `n_slots`. Correct it there.",
    ),
    "unknown key of an engine": (
        None,
        ["engine=llama", "+engine.slots=8"],
        "ConfigError: conf/engine: unknown key 'slots'. Did you mean 'n_slots'? Available: *",
    ),
    "forgotten header": (
        write("conf/operator/mine.yaml", "# @package operator.other\nfamily: depth\n"),
        [],
        "ConfigError: conf/operator/mine.yaml: the first line is '# @package operator.other'. "
        "Make it '# @package operator.mine'.",
    ),
    "malformed YAML": (
        replace(DEEPENING, "family: depth", "family: [depth"),
        [],
        f"ConfigError: {DEEPENING}:*. Correct the YAML.",
    ),
    "environment in a filter": (
        replace("conf/filter/length.yaml", "max_words: 400", "max_words: ${oc.env:WORDS}"),
        [],
        "ConfigError: conf.filter.length.max_words: 'oc.env' makes a build depend on the machine or the moment. "
        "Write the value out.",
    ),
    "a field that a task does not have": (
        replace("conf/task/summarization.yaml", "field: text", "field: txet"),
        [],
        "ConfigError: conf/task/summarization.yaml: unknown field 'txet'. Did you mean 'text'? Available: text.",
    ),
    "a check that does not exist": (
        replace(DEEPENING, "evolutions.Changed", "evolutions.Changes"),
        [],
        f"ConfigError: {DEEPENING}: _target_ 'm2l.checks.evolutions.Changes' cannot be imported (*). Correct it.",
    ),
    "a key that stands twice": (
        replace(DEEPENING, "family: depth", "family: depth\nfamily: constraint"),
        [],
        f"ConfigError: {DEEPENING}:*: found duplicate key family. Correct the YAML.",
    ),
    "a value that YAML takes for something else": (
        replace("conf/language/eng_Latn.yaml", "iso639_3: eng", "iso639_3: no"),
        [],
        "ConfigError: conf/language/eng_Latn.yaml: Expected `str`, got `bool` - at `iso639_3`. Correct it there. "
        "Quote a text that YAML would take for something else.",
    ),
    "a number that makes no sense": (
        None,
        ["recipe.seeds_per_task=0"],
        "ConfigError: conf/recipe/starter.yaml with recipe.repairs=0 recipe.seeds_per_task=0: Expected `int` >= 1 - at "
        "`seeds_per_task`. Correct it there.",
    ),
    "a weight of something unknown": (
        None,
        ["+recipe.quota.weight.operator.general_deepning=2"],
        "ConfigError: conf/recipe/starter.yaml: quota.weight: unknown operator 'general_deepning'. Did you mean "
        "'general_deepening'? Available: *",
    ),
    "a share of seeds that leaves none to train on": (
        None,
        ["recipe.validation=1"],
        "ConfigError: conf/recipe/starter.yaml with recipe.repairs=0 recipe.validation=1: Expected `float` < 1.0 - at "
        "`validation`. Correct it there.",
    ),
    "a language with nothing to draw from": (
        replace("conf/language/eng_Latn.yaml", "formats: [list, table, steps, letter, dialogue]", "formats: []"),
        [],
        "ConfigError: conf/language/eng_Latn.yaml: formats is empty, from which directives draw. Write at least one.",
    ),
    "a script that does not exist": (
        replace("conf/language/eng_Latn.yaml", "script: Latn", "script: Lain"),
        [],
        "ConfigError: conf/language/eng_Latn.yaml: script 'Lain' is no script. Use its ISO 15924 code, such as Latn.",
    ),
    "a neighbour that does not exist": (
        replace("conf/language/eng_Latn.yaml", "code: spa_Latn", "code: spa_Latin"),
        [],
        "ConfigError: conf/language/eng_Latn.yaml: unknown language 'spa_Latin'. Did you mean 'spa_Latn'? Available: *",
    ),
    "a seed file of another licence": (
        replace(SEEDS, '"license": "Apache-2.0"', '"license": "CC0"'),
        [],
        f"SeedError: {SEEDS}:1: license is 'CC0', expected 'Apache-2.0'. Correct the first line.",
    ),
    "environment in a prompt": (
        replace(DEEPENING, "Keep its topic", "${oc.env:HOME} Keep its topic"),
        [],
        f"ConfigError: {DEEPENING}: '${{' refers to a value elsewhere, which a declaration may not. Write it out.",
    ),
    "missing template variable": (
        replace(DEEPENING, "Keep its topic", "Keep {{ topik }}"),
        [],
        f"TemplateError: {DEEPENING}: prompt.eng_Latn: unknown template variable 'topik'. Available: "
        "anchor, format, language, neighbour, variety.",
    ),
    "malformed template": (
        replace(DEEPENING, "Keep its topic", "Keep {{ topic"),
        [],
        f"TemplateError: {DEEPENING}: prompt.eng_Latn: line * of the template: *. Correct the template.",
    ),
    "missing variable of a frame": (
        replace("conf/frame/completion.yaml", "{{ instruction }}\n    {{ labels.evolved }}", "{{ instruktion }}"),
        [],
        "TemplateError: conf/frame: evolve.template: unknown template variable 'instruktion'. "
        "Did you mean 'instruction'? Available: instruction, labels, language, prompt, shots.",
    ),
    "missing seed file": (
        remove(SEEDS),
        [],
        f"SeedError: {SEEDS}: No such file or directory. Write it, one JSON object a line, or drop eng_Latn.",
    ),
    "empty seed file": (
        write(SEEDS, " \n"),
        [],
        f"SeedError: {SEEDS}: empty. Write seeds, one JSON object a line, or drop eng_Latn.",
    ),
    "malformed seed file": (
        write(SEEDS, "task,instruction\ngeneral,Hello\n"),
        [],
        f"SeedError: {SEEDS}:1: not JSON; no row of 2 is a seed for eng_Latn. Correct them, or add seeds.",
    ),
    "no seed of a task": (
        write(SEEDS, '{"task": "general", "instruction": "Say hello.", "response": "Good morning to you."}\n'),
        [],
        "ConfigError: data/seeds: no seed of task 'creative_writing' in eng_Latn. Add one, or drop the task.",
    ),
    "missing model": (
        None,
        ["engine=llama"],
        f"ModelError: {MODEL}: no model file (No such file or directory). {GET}",
    ),
    "model that is no GGUF": (
        write(MODEL, b"<html>not found</html>"),
        ["engine=llama"],
        f"ModelError: {MODEL}: no GGUF file (it begins with b'<htm'). {GET}",
    ),
    "truncated model": (
        write(MODEL, GGUF),
        ["engine=llama"],
        f"ModelError: {MODEL}: truncated, 64 bytes of 253113024. {GET}",
    ),
    "model of another sha256": (
        write(MODEL, GGUF),
        ["engine=llama", "model.size=64"],
        f"ModelError: {MODEL}: sha256 is {hashlib.sha256(GGUF).hexdigest()[:12]}..., conf/model/gemma3_270m.yaml "
        f"declares a5fd3b62230a... {GET}",
    ),
    "no params.yaml": (
        remove("params.yaml"),
        [],
        "ConfigError: params.yaml: missing. Restore it with `git checkout params.yaml`.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_2(project: Path, name: str) -> None:
    """Each kind of bad input stops `m2l plan` with the line that says where, what and what to do."""
    spoil, arguments, expected = CASES[name]
    if spoil is not None:
        spoil(project)
    done = m2l(project, "plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert_like(done.stderr, expected + "\n")
    assert not (project / "data" / "tables").exists()


def assert_like(text: str, pattern: str) -> None:
    """Assert that `text` is `pattern`, in which each * stands for anything on that line."""
    import re

    regex = "[^\n]*".join(re.escape(part) for part in pattern.split("*"))
    assert re.fullmatch(regex, text), f"{text!r} is not like {pattern!r}"


def test_outside_a_project(tmp_path: Path) -> None:
    """A command in a folder that is no project says so."""
    done = m2l(tmp_path, "plan")
    assert done.returncode == 2
    assert done.stderr == (
        f"ConfigError: {tmp_path}: no m2l project here (no conf/config.yaml). Change into a clone of the project.\n"
    )


def test_bad_seed_rows_are_put_aside_and_counted(project: Path, edit: Edit) -> None:
    """Malformed rows among good ones stop nothing; they are kept with their place and reason, and counted."""
    import polars as pl

    from tests.helpers import run

    path = project / SEEDS
    lines = path.read_text(encoding="utf-8").count("\n")
    path.write_text(path.read_text(encoding="utf-8") + '{"task": "general"\n{"task": "general"}\n', encoding="utf-8")
    run(project)
    aside = pl.read_parquet(project / "data" / "dist" / "quarantined" / "train.parquet")
    assert aside.select("where", "reason").rows() == [
        (f"{SEEDS}:{lines + 1}", "not JSON"),
        (f"{SEEDS}:{lines + 2}", "instruction is missing, empty or no text"),
    ]


def test_an_old_store_is_named_and_not_touched(project: Path) -> None:
    """A store of another version is neither read as if it were ours nor overwritten."""
    import sqlite3

    path = project / "cache" / "store.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=7")
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    before = path.read_bytes()
    done = m2l(project, "plan")
    assert done.returncode == 2
    assert done.stderr == (
        f"StoreError: {path}: written with store version 7, this m2l reads 3. "
        "Use the m2l that wrote it, or move the file away to begin anew.\n"
    )
    assert path.read_bytes() == before


def test_what_is_no_store_is_named(project: Path) -> None:
    """A file that is no database is one line, too."""
    path = project / "cache" / "store.sqlite"
    path.write_bytes(b"this is no database, however long it may be" * 40)
    done = m2l(project, "plan")
    assert (done.returncode, done.stderr) == (
        2,
        f"DamagedStoreError: {path}: file is not a database. "
        "Run `m2l verify --repair`, which keeps all that can be read.\n",
    )
