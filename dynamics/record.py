"""The run folder: the one place that holds what a run was and what was measured. `Run` reads it; `write_*` add to it.

A file exists complete or not at all, has one writer, and is never amended. Files derived from a checkpoint are named
`<what>-<key>`, the key being a hash of the weights and of the settings that made them: changed settings add a file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zstandard

from .errors import RecordError, nearest
from .probe_files import StoredDirection, read_direction, read_labels, read_states
from .storage import MANIFEST, content_key, whole_file, write_json
from .types import Finding, Group, Measurement

SCHEMA = 1
NUMBERS = {
    "value",
    "lo",
    "hi",
    "smallest_detectable_dip",
    "band_critical",
}  # of findings: numbers that can be undefined
LONGEST_NAME = 100  # characters of a name that becomes a file's
RUN_FILE, STEPS_FILE, FINDINGS_FILE = "run.json", "steps.jsonl", "findings.json"


def step_name(step: int) -> str:
    return f"step-{step:06d}"


def half_of(item: str) -> str:
    """`A` or `B`: a fixed split of items by content, so that two metrics can be computed from disjoint prompts."""
    return "AB"[hashlib.sha256(b"half:" + item.encode()).digest()[0] & 1]


# ---------------------------------------------------------------- writing


def create_run(path: Path, info: dict[str, Any], *, identity: Sequence[str] = ("config_hash",)) -> None:
    """Write `run.json`, or check that the one there describes the same run.

    `identity` names the entries of `info` that must agree. Raises RecordError when the folder belongs to another run.
    """
    path = Path(path)
    file = path / RUN_FILE
    # Looked at before the file: two that begin at once may write it between the two looks.
    occupied = path.exists() and any(p for p in path.iterdir() if not p.name.startswith("."))
    if file.exists():
        there = Run(path).info
        for key in identity:
            if there.get(key) != info.get(key):
                raise RecordError(
                    f"{path} belongs to another run: its `{key}` is {there.get(key)!r}, this one's is "
                    f"{info.get(key)!r}. Give another output folder, or the config that made this one "
                    "(it is in its run.json)"
                )
        return
    if occupied:
        raise RecordError(f"{path} is not empty and holds no {RUN_FILE}: give a new folder for the run")
    write_json(file, {"schema": SCHEMA, "name": path.name, "created": time.time(), **info})


def write_measurements(
    run: Path,
    step: int,
    probe: str,
    *,
    key: str,
    settings: str,
    rows: Iterable[Measurement],
    items: pd.DataFrame | None = None,
) -> Path:
    """Add one probe's rows for one checkpoint; with `items` (domain, group, item, cluster, metric, value) beside them.

    `key` names this very result (weights and settings), `settings` what is common to all checkpoints measured alike.
    """
    name = f"{probe}-{key}.parquet"
    if items is not None and len(items):
        items = items.assign(step=step, probe=probe, settings=settings, value=items["value"].astype("float32"))
        with whole_file(Path(run) / "items" / step_name(step) / name) as aside:
            items.to_parquet(aside, index=False)
    flat = []
    for row in rows:
        record = asdict(row)
        record |= record.pop("estimate")
        flat.append(record)
    table = pd.DataFrame(flat).assign(key=key, settings=settings, created=time.time())
    target = Path(run) / "measurements" / step_name(step) / name
    with whole_file(target) as aside:  # last: its presence says that the probe is done
        table.to_parquet(aside, index=False)
    return target


def _check_file_name(domain: str) -> None:
    """A domain whose name becomes a file's must not lead elsewhere. Raises RecordError."""
    if any(part in domain for part in ("/", "\\", "\0", "..")) or not 0 < len(domain) <= LONGEST_NAME:
        shown = domain if len(domain) <= LONGEST_NAME else f"{domain[:20]}…"
        raise RecordError(
            f"a domain is called {shown!r} ({len(domain)} characters), and files are named by it: give it a name of 1 to "
            f"{LONGEST_NAME} characters without `/`, `\\`, `..` and NUL"
        )


def write_samples(run: Path, step: int, domain: str, *, key: str, rows: Iterable[dict[str, Any]]) -> Path:
    """Store what the model wrote on a domain: one JSON object a line, zstd-compressed.

    Raises RecordError for a domain's name that cannot be a file's, as `write_spans` does.
    """
    _check_file_name(domain)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    target = Path(run) / "samples" / step_name(step) / f"{domain}-{key}.jsonl.zst"
    with whole_file(target) as aside:
        aside.write_bytes(zstandard.ZstdCompressor(level=6).compress(text.encode()))
    return target


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of samples. Halves of a character, which a model can end in, become the sign for what is unknown."""
    raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(Path(path).read_bytes()))
    lines = io.TextIOWrapper(raw, encoding="utf-8", errors="replace")
    return [{k: _whole(v) for k, v in json.loads(line).items()} for line in lines]


def _whole(value: Any) -> Any:
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def write_spans(run: Path, step: int, domain: str, *, key: str, spans: pd.DataFrame) -> Path:
    """Store what stands where in a domain's responses: columns item, kind, name, start, end (`Run.spans`)."""
    _check_file_name(domain)
    target = Path(run) / "spans" / step_name(step) / f"{domain}-{key}.parquet"
    with whole_file(target) as aside:
        spans.astype({"start": "int32", "end": "int32"}).to_parquet(aside, index=False)
    return target


def write_findings(run: Path, name: str, findings: Sequence[Finding]) -> Path:
    """Replace `findings.json`: it is derived, and rebuilt whole by every analysis."""
    target = Path(run) / FINDINGS_FILE
    write_json(target, {"schema": SCHEMA, "run": name, "findings": [asdict(f) for f in findings]})
    return target


# ---------------------------------------------------------------- reading


class Run:
    """Read access to a run folder; every method returns pandas or numpy. Raises RecordError where there is no run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        file = self.path / RUN_FILE
        if not file.is_file():
            raise RecordError(
                f"no run at {self.path}: it holds no {RUN_FILE} (run folders are made by `sftscope train` and "
                "`sftscope probe … -o RUN`)"
            )
        try:
            self.info: dict[str, Any] = json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise RecordError(f"{file} is damaged ({error}): the run folder cannot be read") from error
        if self.info.get("schema") != SCHEMA:
            raise RecordError(f"{file} has schema {self.info.get('schema')!r}, this version reads {SCHEMA}")
        self._files_read: dict[tuple[Path, int], pd.DataFrame] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._by_metric: dict[str | None, pd.DataFrame] | None = None
        self._item_rows: dict[str, dict[str, pd.DataFrame]] | None = None

    def again(self) -> Run:
        """The run as it is by now; files that have not changed are not read again."""
        fresh = Run(self.path)
        fresh._files_read = self._files_read
        return fresh

    @property
    def name(self) -> str:
        return self.info.get("name", self.path.name)

    def steps(self) -> pd.DataFrame:
        """A row per optimiser step (columns of steps.jsonl). A torn last line is dropped, as after a kill."""
        file = self.path / STEPS_FILE
        rows: list[dict[str, Any]] = []
        lines = file.read_text().split("\n") if file.exists() else []
        for i, line in enumerate(lines):
            if not line:
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                if i == len(lines) - 1:
                    break
                raise RecordError(f"{file}, line {i + 1} is not JSON: {error}") from error
        if not rows:
            return pd.DataFrame(columns=["step", "loss", "lr", "cumulative_lr", "epoch", "tokens"])
        # A resumed run may have written some steps twice: the later row is the one that led to the weights.
        return pd.DataFrame(rows).drop_duplicates("step", keep="last").sort_values("step").reset_index(drop=True)

    def checkpoints(self) -> dict[int, Path]:
        """Complete checkpoints by step."""
        found = {}
        for folder in sorted((self.path / "checkpoints").glob("step-*")):
            if (folder / MANIFEST).is_file():
                found[int(folder.name.removeprefix("step-"))] = folder
        return dict(sorted(found.items()))

    def axes(self) -> pd.DataFrame:
        """The x-axes by step: `epoch`, `tokens` trained on, `cumulative_lr`; zero at step 0.

        Measured steps without a row get NaN.
        """
        table = self.steps()
        columns = ["epoch", "tokens", "cumulative_lr"]
        axes = table.set_index("step").reindex(columns=columns) if len(table) else pd.DataFrame(columns=columns)
        axes.loc[0] = 0.0
        return axes.sort_index().astype(float)

    def measured_steps(self) -> list[int]:
        return sorted({int(p.name.removeprefix("step-")) for p in (self.path / "measurements").glob("step-*")})

    def _table(self, kind: str) -> pd.DataFrame:
        if kind not in self._tables:
            files = sorted((self.path / kind).glob("step-*/*.parquet"))
            parts = []
            for f in files:
                as_it_is = (f, f.stat().st_mtime_ns)
                if as_it_is not in self._files_read:
                    self._files_read[as_it_is] = pd.read_parquet(f).assign(file=str(f.relative_to(self.path)))
                if len(
                    self._files_read[as_it_is]
                ):  # of a probe without numbers: its columns would make whole ones floats
                    parts.append(self._files_read[as_it_is])
            self._tables[kind] = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        return self._tables[kind]

    def _current_settings(self) -> dict[str, str]:
        """The newest settings of each probe: results of older settings stay on disk and are not mixed with these."""
        table = self._table("measurements")
        if table.empty:
            return {}
        newest = table.sort_values("created").groupby("probe")["settings"].last()
        return newest.to_dict()

    def measurements(
        self,
        *,
        probe: str | None = None,
        metric: str | None = None,
        domain: str | None = None,
        layer: int | None = None,
        all_settings: bool = False,
        failed: bool = False,
    ) -> pd.DataFrame:
        """The long table: step, probe, metric, domain, layer, position, value, lo, hi, n, method, unit, status, reason,
        key, settings, file.

        Rows of the newest settings of each probe, unless `all_settings`; failed rows only with `failed`.
        """
        table = self._table("measurements") if all_settings else self._current(metric)
        if table.empty:
            return table
        keep = pd.Series(True, index=table.index)
        if not failed:
            keep &= table["status"] == "ok"
        for column, wanted in (("probe", probe), ("metric", metric), ("domain", domain), ("layer", layer)):
            if wanted is not None:
                keep &= table[column] == wanted
        return table[keep].sort_values(["metric", "domain", "layer", "step"], kind="stable").reset_index(drop=True)

    def _current(self, metric: str | None) -> pd.DataFrame:
        """The rows of each probe's newest settings, of one metric or of all. Selected and split once: analysis asks often."""
        if self._by_metric is None:
            table = self._table("measurements")
            if len(table):
                table = table[table["settings"] == table["probe"].map(self._current_settings())]
                # Two results of one probe at one step differ in their weights: the newer ones are those of the run as it is.
                same = ["step", "probe", "metric", "domain", "layer", "position"]
                table = table.sort_values("created", kind="stable").drop_duplicates(same, keep="last")
            self._by_metric = {None: table}
            if len(table):
                self._by_metric |= {str(name): rows for name, rows in table.groupby("metric")}
        everything = self._by_metric[None]
        return everything if metric is None else self._by_metric.get(metric, everything.iloc[:0])

    def series(self, metric: str, *, domain: str = "", layer: int = -1) -> pd.DataFrame:
        """One metric over steps (index: step; value, lo, hi, n, method).

        Raises RecordError naming near metrics if there is none.
        """
        table = self.measurements(metric=metric, domain=domain, layer=layer)
        if table.empty:
            known = self.measurements()
            raise RecordError(
                f"no metric {metric!r} (domain {domain!r}, layer {layer}) in {self.path}: "
                f"{nearest(metric, set(known.get('metric', [])))}"
            )
        return table.drop_duplicates("step", keep="last").set_index("step")[["value", "lo", "hi", "n", "method"]]

    def domains(self) -> dict[str, Group]:
        """Domain -> group, for every domain with per-item results, and every benchmark of imported scores."""
        imported = {name: told["group"] for name, told in self.info.get("benchmarks", {}).items()}
        return imported | {
            domain: rows["group"].iloc[0] for domain, by_metric in self._items().items() for rows in by_metric.values()
        }

    def _items(self) -> dict[str, dict[str, pd.DataFrame]]:
        """Domain -> metric -> rows of the current settings.

        Split once: filtering all rows by their text columns at every call is slow.
        """
        if self._item_rows is None:
            table = self._table("items")
            if len(table):
                table = table[table["settings"] == table["probe"].map(self._current_settings())]
            self._item_rows = {}
            written = self._written()
            for (domain, metric), rows in table.groupby(["domain", "metric"], sort=True) if len(table) else ():
                files = rows[["step", "file"]].drop_duplicates()
                if files["step"].duplicated().any():  # the newer result, as in `measurements`; never a mean of the two
                    files = files.assign(at=files["file"].map(written)).sort_values("at", kind="stable")
                    rows = rows[rows["file"].isin(files.drop_duplicates("step", keep="last")["file"])]
                self._item_rows.setdefault(domain, {})[metric] = rows
        return self._item_rows

    def _written(self) -> dict[str, float]:
        """When each file of items was written, as its measurements record it."""
        table = self._table("measurements")
        if table.empty:
            return {}
        times = table.drop_duplicates("file").set_index("file")["created"]
        return {str(file).replace("measurements/", "items/", 1): at for file, at in times.items()}

    def items(self, domain: str, metric: str = "strict") -> pd.DataFrame:
        """Items x steps of one per-item metric (index: item id; columns: steps; NaN where undefined).

        `.attrs["cluster"]` maps item -> cluster. Raises RecordError for an unknown domain or metric.
        """
        known = self._items()
        if domain not in known:
            raise RecordError(f"no per-item results for domain {domain!r} in {self.path}: {nearest(domain, known)}")
        if metric not in known[domain]:
            raise RecordError(f"no per-item metric {metric!r} for {domain!r}: {nearest(metric, known[domain])}")
        rows = known[domain][metric]
        matrix = rows.pivot_table(index="item", columns="step", values="value", aggfunc="mean", dropna=False)
        matrix.attrs["cluster"] = rows.drop_duplicates("item").set_index("item")["cluster"].to_dict()
        return matrix

    def item_metrics(self, domain: str) -> list[str]:
        return sorted(self._items().get(domain, {}))

    def _files(self, folder: str, name: str, suffix: str, steps: Sequence[int] | None) -> dict[int, Path]:
        """By step, the newest of the files `<name>-<key><suffix>`."""
        found: dict[int, Path] = {}
        places = ["step-*"] if steps is None else [step_name(s) for s in steps]
        for file in (f for place in places for f in (self.path / folder).glob(f"{place}/{name}-*{suffix}")):
            step = int(file.parent.name.removeprefix("step-"))
            if file.name.rsplit("-", 1)[0] == name and (
                step not in found or file.stat().st_mtime > found[step].stat().st_mtime
            ):
                found[step] = file
        return dict(sorted(found.items()))

    def costs(self) -> pd.DataFrame:
        """What measuring took, by stage and summed over checkpoints: columns seconds, tokens, bytes, times; dearest first."""
        table = self.measurements(probe="cost", all_settings=True)
        if table.empty:
            return pd.DataFrame()
        wide = table.pivot_table(index="position", columns="metric", values="value", aggfunc="sum", fill_value=0.0)
        wide = wide.reindex(columns=["seconds", "tokens", "bytes"], fill_value=0.0)
        times = table[table["metric"] == "seconds"].groupby("position").size()
        return wide.assign(times=times.reindex(wide.index, fill_value=0)).sort_values("seconds", ascending=False)

    def _stored(self, prefix: str, name: str, what: str, steps: Sequence[int] | None) -> dict[int, Path]:
        """As `_files`, in `probes`. Raises RecordError with near names where there is none at all."""
        files = self._files("probes", f"{prefix}{name}", ".h5", steps)
        if not files:
            stems = {f.stem.rsplit("-", 1)[0] for f in (self.path / "probes").glob(f"step-*/{prefix}*-*.h5")}
            known = {s.removeprefix(prefix) for s in stems if prefix or not s.startswith("direction-")}
            if name in known:
                there = list(self._stored(prefix, name, what, None))
                raise RecordError(f"no {what} {name!r} at steps {steps} in {self.path}: there are {there}")
            raise RecordError(f"no {what} {name!r} in {self.path}: {nearest(name, known)}")
        return files

    def samples(self, domain: str, step: int) -> pd.DataFrame:
        """What the model wrote: item, prompt, text, token_ids, finish (`stop` or `length`)."""
        files = self._files("samples", domain, ".jsonl.zst", [step])
        if not files:
            raise RecordError(f"no samples of {domain!r} at step {step} in {self.path}")
        return pd.DataFrame(read_samples(files[step]))

    def has_samples(self, domain: str, step: int) -> bool:
        """Whether what the model wrote on a domain was kept at a step."""
        return bool(self._files("samples", domain, ".jsonl.zst", [step]))

    def spans(self, domain: str, step: int) -> pd.DataFrame:
        """What stands where in a domain's responses: item, kind, name, and the characters `start` to `end` of its text.

        Kinds: `backtrack` and `loop` (moves of a search; a tried branch opened again), `cue` (`name`: its family of words),
        `repetition` (the loop in which a cut response ends). Raises RecordError where none were looked for.
        """
        files = self._files("spans", domain, ".parquet", [step])
        if not files:
            raise RecordError(f"no spans of {domain!r} at step {step} in {self.path}: the probe `spans` finds them")
        return pd.read_parquet(files[step])

    def activation_files(self, prompt_set: str, steps: Sequence[int] | None = None) -> dict[int, Path]:
        """The HDF5 file of a prompt set's states, by step. Raises RecordError with near names where there is none."""
        return self._stored("", prompt_set, "activations of prompt set", steps)

    def activations(
        self, prompt_set: str, layer: int, steps: Sequence[int] | None = None, position: str = "last_prompt"
    ) -> np.ndarray:
        """Residual stream after block `layer` at a named position, float32 [steps, items, width]; steps ascend.

        Which steps: the keys of `activation_files`; which items: the index of `prompt_labels`.
        """
        return np.stack([read_states(f, layer, position) for f in self.activation_files(prompt_set, steps).values()])

    def prompt_labels(self, prompt_set: str) -> pd.DataFrame:
        """What a prompt set's items are (index: item, in the order of its activations).

        Columns: `label` (bool, or a number), `part` (`fit` or `eval`), `half` (`A` or `B`), `group` (what prompts share).
        Raises RecordError where checkpoints have other items, or none stores labels.
        """
        return read_labels(list(self.activation_files(prompt_set).values()))

    def direction_files(self, concept: str, steps: Sequence[int] | None = None) -> dict[int, Path]:
        """The HDF5 file of a concept's direction, by step. Raises RecordError with near names where there is none."""
        return self._stored("direction-", concept, "direction", steps)

    def direction(self, concept: str, step: int) -> StoredDirection:
        """The direction refit at one step, with its class means, position and hash of weights where they are stored."""
        return read_direction(self.direction_files(concept, [step])[step])

    def directions(self, concept: str, steps: Sequence[int] | None = None) -> dict[int, np.ndarray]:
        """Unit directions refit at each step, float64 [layers, width]; none where none is stored."""
        files = self._files("probes", f"direction-{concept}", ".h5", steps)
        return {step: read_direction(file).direction_LD for step, file in files.items()}

    def export_direction(self, concept: str, step: int, path: Path | str) -> Path:
        """Write the direction of a step as safetensors, for code that knows nothing of this tool (docs/directions.md)."""
        from .export import export_direction

        return export_direction(self, concept, step, Path(path))

    def findings(self) -> list[dict[str, Any]]:
        file = self.path / FINDINGS_FILE
        if not file.is_file():
            raise RecordError(f"{self.path} has no {FINDINGS_FILE} yet: run `sftscope analyze {self.path}`")
        return json.loads(file.read_text(), object_hook=_undefined_is_nan)["findings"]


def _undefined_is_nan(record: dict[str, Any]) -> dict[str, Any]:
    """In JSON an undefined number is null; in Python it is NaN again. Entries that may be None for other reasons stay."""
    return {k: math.nan if v is None and k in NUMBERS else v for k, v in record.items()}


def config_hash(mapping: dict[str, Any]) -> str:
    return content_key(mapping, length=16)
