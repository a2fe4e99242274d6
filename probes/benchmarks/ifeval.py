"""IFEval (arXiv 2311.07911): instructions whose following can be verified, by lm-evaluation-harness's own checkers.

`google/IFEval`, split `train`: 541 prompts. Columns `key`, `prompt`, `instruction_id_list`, `kwargs` (an object an instruction).
Only the checkers of `lm_eval.tasks.ifeval` are used, on stored answers; its generation loop is not.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...dynamics.errors import DataError, first_line
from ...dynamics.types import Group
from ..domains import Grade, Item, Response
from .base import Benchmark, BenchmarkConfig, Question, strict_or_late
from .rows import Row, Source, Unavailable

SENTENCES = {
    "length_constraints:number_sentences",
    "change_case:capital_word_frequency",
}  # they need NLTK's `punkt_tab`
LISTS = {"keywords", "forbidden_words"}  # arguments that are lists: of a text the checkers would take the letters
INSTALL = "pip install 'sftscope[benchmarks]'"


class IFEval(Benchmark):
    """Right: every instruction of the prompt is followed (prompt-level, strict). Details: `instructions`, the share followed, and
    `loose`, right after the published relaxations (first or last line, asterisks left out)."""

    name = "ifeval"
    group: Group = "general"
    source = Source("google/IFEval", "train")
    prompt = "{prompt}"

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        try:
            self.grader = f"lm-eval-{version('lm_eval')}"
            self._checkers = _load_checkers()
        except (ImportError, PackageNotFoundError) as error:
            raise Unavailable(
                f"{self.name} is skipped: its checkers are lm-evaluation-harness's ({first_line(error)}): {INSTALL}"
            ) from error
        super().__init__(config)

    @cached_property
    def _has_sentences(self) -> bool:
        import nltk

        try:
            nltk.data.find("tokenizers/punkt_tab")
        except LookupError:
            return False
        return True

    def question(self, row: Row) -> Question:
        prompt, names = row.text("prompt"), row.texts("instruction_id_list")
        known = self._checkers.instructions_registry.INSTRUCTION_DICT
        for name in names:
            if name not in known:
                raise row.wrong("instruction_id_list", f"instructions such as {sorted(known)[0]!r}, not {name!r}")
            if name in SENTENCES and not self._has_sentences:
                raise Unavailable(
                    f"{self.name} is skipped: {row.where} asks for {name}, which needs NLTK's sentence tokenizer: "
                    "python -m nltk.downloader punkt_tab"
                )
        kwargs = row.values.get("kwargs")
        if not isinstance(kwargs, list) or len(kwargs) != len(names) or not all(isinstance(k, dict) for k in kwargs):
            raise row.wrong("kwargs", f"a list of {len(names)} objects, one an instruction")
        # the hub fills every argument of every instruction with nulls
        given = [{k: v for k, v in one.items() if v is not None} for one in kwargs]
        for name, one in zip(names, given, strict=True):
            for key in LISTS & one.keys():
                if not isinstance(one[key], list):
                    raise row.wrong("kwargs", f"a list of texts as {key!r} of {name}, not {one[key]!r}")
            checker = known[name](name)
            try:
                checker.build_description(**one)
            except (TypeError, ValueError, KeyError) as error:
                raise row.wrong("kwargs", f"what {name} takes ({first_line(error)})") from error
            # what is left out the checkers draw at random, at every grading anew
            if missing := [key for key in checker.get_instruction_args_keys() if key not in one]:
                raise row.wrong("kwargs", f"{missing[0]!r} for {name}")
        reference: dict[str, Any] = {"prompt": prompt, "instructions": names, "kwargs": given}
        return Question({"prompt": prompt}, reference, (prompt, names, given))

    def grade(self, item: Item, response: Response) -> Grade:
        """Raises DataError where a checker cannot run."""
        strict, loose = (self._followed(item, response.answer, loose=loose) for loose in (False, True))
        late = not response.finished and all(strict)
        shares = {"instructions": sum(strict) / len(strict), "loose": float(all(loose))}
        done = float(response.finished)
        return strict_or_late(
            response, bool(response.answer), all(strict), late, **{k: done * v for k, v in shares.items()}
        )

    def _followed(self, item: Item, answer: str, *, loose: bool) -> list[bool]:
        names = item.reference["instructions"]
        if not answer:
            return [False] * len(names)
        checkers, reference = self._checkers, item.reference
        asked = checkers.InputExample(0, names, reference["prompt"], reference["kwargs"])
        check = checkers.test_instruction_following_loose if loose else checkers.test_instruction_following_strict
        try:
            return [bool(f) for f in check(asked, answer).follow_instruction_list]
        except LookupError as error:
            raise DataError(f"a checker of {names} needs data of NLTK ({first_line(error)})") from error


def _load_checkers() -> Any:
    """`lm_eval.tasks.ifeval.utils`. Its import asks NLTK's server for a tokenizer where it is not here, and says so at length."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        import langdetect
        from lm_eval.tasks.ifeval import utils

    langdetect.DetectorFactory.seed = 0  # else the language of a short text is drawn anew each time
    return utils
