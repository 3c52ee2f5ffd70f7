"""One training: what it may learn from, what it leaves behind, and that it can be repeated to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference.artefact import MANIFEST, SERVING, TRAINING, manifest_sha256, read_manifest, seal, verify
from inference.predictor import Predictor
from inference.rules import KeywordRules, Rule
from schema.errors import ArtefactError, ConfigError, TrainingError
from schema.taxonomy import INTENTS
from schema.text import is_held_out
from training.corpus import Row, is_validation, seed_rows, split
from training.job import TrainJob
from training.progress import Progress
from training.run import train

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
WEIGHTS = "weights/model.safetensors"
_TOPICS = (("财运", "財運"), ("姻缘", "姻緣"), ("健康", "健康"), ("事业", "事業"), ("学业", "學業"), ("运势", "運勢"))
_WHOM = (("我", "我"), ("我妈妈", "我媽媽"), ("我儿子", "我兒子"), ("我对象", "我對象"), ("我老板", "我老闆"))
COPIES = [
    (f"{whom}2027年{topic}怎么样?", f"{whom_old}２０２７年，{topic_old}怎麼樣？！ ")
    for whom, whom_old in _WHOM
    for topic, topic_old in _TOPICS
]
"""Questions, and the same in traditional characters, full-width digits and other punctuation."""


def trainable(text: str) -> bool:
    return not is_held_out(text) and not is_validation(text)


FRESH = [Row(f"我今年{i}月{what}能成吗", ("career",)) for i in "一二三四五六七八九" for what in ("跳槽", "升职")]


@pytest.fixture
def job(parent: Path, tmp_path: Path) -> TrainJob:
    return TrainJob(rows=FRESH, parent=str(parent), out=tmp_path / "models" / "v1", version="v1", created_at=WHEN, golden=())


@pytest.fixture
def mining(job: TrainJob) -> TrainJob:
    """The cheap task: it trains nothing."""
    return replace(job, task="extract_keywords")


@pytest.fixture(scope="module")
def trained(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "v1"
    train(TrainJob(rows=FRESH, parent=str(parent), out=out, version="v1", created_at=WHEN, golden=()))
    return out


@pytest.fixture
def small_bert(parent: Path, tmp_path: Path) -> Path:
    """A directory as Hugging Face has them."""
    folder = tmp_path / "small-bert"
    shutil.copytree(parent / "weights", folder)
    shutil.copyfile(parent / "tokenizer.json", folder / "tokenizer.json")
    return folder


def left_behind(job: TrainJob) -> list[str]:
    return sorted(path.name for path in job.out.parent.glob("*")) if job.out.parent.exists() else []


def test_the_same_rows_in_another_order_give_the_same_bytes_in_every_file(trained: Path, job: TrainJob) -> None:
    train(replace(job, rows=FRESH[::-1]))
    first, again = read_manifest(trained), read_manifest(job.out)
    assert first.files["model.onnx"].sha256 == again.files["model.onnx"].sha256
    assert first.files[WEIGHTS].sha256 == again.files[WEIGHTS].sha256
    assert first.files == again.files
    assert manifest_sha256(trained) == manifest_sha256(job.out)


def test_what_was_trained_is_another_model_than_its_parent_and_serves(trained: Path, parent: Path) -> None:
    manifest = verify(trained, sha256=None, roles=TRAINING)
    assert (manifest.version, manifest.parent, manifest.base_model) == ("v1", "v0", "tiny")
    assert manifest.files[WEIGHTS] != read_manifest(parent).files[WEIGHTS]
    assert manifest.files["model.onnx"] != read_manifest(parent).files["model.onnx"]
    predictor = Predictor.load(trained, threads=1)
    assert predictor.decide(predictor.probabilities(["我今年跳槽能成吗"])[0])
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["train_rows"] == len([row for row in FRESH if trainable(row.question)]) > 0
    assert metrics["replay_rows"] >= 400
    assert metrics["held_out_rows"] == metrics["candidate"]["rows"] == metrics["serving"]["rows"]


def test_held_out_questions_with_wrong_labels_change_no_weight_no_rule_and_no_threshold(trained: Path, job: TrainJob) -> None:
    poison = [Row(row.question, ("nayin",)) for row in seed_rows() if is_held_out(row.question)]
    poison += [Row(copy, ("nayin",)) for plain, copy in COPIES if is_held_out(plain)]
    assert len(poison) > 100
    result = train(replace(job, rows=[*poison, *FRESH]))
    clean, poisoned = read_manifest(trained), read_manifest(job.out)
    for name in ("model.onnx", WEIGHTS, "rules.json", "dictionary.txt"):
        assert clean.files[name] == poisoned.files[name], name
    assert (clean.thresholds, clean.temperature) == (poisoned.thresholds, poisoned.temperature)
    assert result.metrics["candidate"]["per_intent"]["nayin"]["support"] >= len(poison)  # they judge, they do not train


def test_copies_in_other_scripts_widths_and_punctuation_stand_on_the_same_side() -> None:
    assert len([plain for plain, _ in COPIES if is_held_out(plain)]) >= 3
    for plain, copy in COPIES:
        assert (is_held_out(plain), is_validation(plain)) == (is_held_out(copy), is_validation(copy)), plain
        assert len(split([Row(plain, ("wealth",)), Row(copy, ("wealth",))]).held_out) in (0, 2)


@pytest.mark.parametrize("script", [0, 1])
def test_a_batch_of_held_out_questions_in_any_script_has_nothing_to_train_on(job: TrainJob, script: int) -> None:
    rows = [Row(pair[script], ("wealth",)) for pair in COPIES if is_held_out(pair[0])]
    with pytest.raises(TrainingError, match="no fresh question is on the training side"):
        train(replace(job, rows=rows))
    assert left_behind(job) == []


def test_an_empty_batch_is_refused(job: TrainJob) -> None:
    with pytest.raises(TrainingError, match="no fresh question"):
        train(replace(job, rows=[]))
    assert left_behind(job) == []


def test_an_existing_folder_is_refused_and_left_as_it_is(mining: TrainJob) -> None:
    mining.out.mkdir(parents=True)
    (mining.out / "kept.txt").write_text("kept")
    with pytest.raises(ConfigError, match="exists already: give another --out"):
        train(mining)
    assert [path.name for path in mining.out.iterdir()] == ["kept.txt"]


def test_mining_rules_keeps_the_model_to_the_byte_and_raises_the_revision(mining: TrainJob, parent: Path) -> None:
    result = train(mining)
    before, after = read_manifest(parent), read_manifest(mining.out)
    for name in ("model.onnx", "tokenizer.json", WEIGHTS, "weights/config.json"):
        assert before.files[name] == after.files[name], name
    assert (after.thresholds, after.temperature, after.labels) == (before.thresholds, before.temperature, before.labels)
    assert (before.rules_revision, after.rules_revision, KeywordRules.load(mining.out).revision) == (0, 1, 1)
    assert result.outcome == "completed"
    assert result.metrics["train_rows"] == result.metrics["replay_rows"] == 0
    assert result.metrics["serving"] == result.metrics["candidate"]
    assert {rule.keyword for rule in result.rules} & {"跳槽", "升职"}

    again = replace(mining, parent=str(mining.out), out=mining.out.with_name("v2"), version="v2")
    train(again)
    assert read_manifest(again.out).rules_revision == 1, "the same rows prove the same rules: no new revision"


def test_rules_that_a_person_wrote_or_switched_off_reach_the_artefact_as_they_are(mining: TrainJob) -> None:
    written = Rule(keyword="跳槽", intent="career", confidence_boost=0.05, source="manual")
    off = Rule(keyword="升职", intent="career", confidence_boost=0.2, enabled=False)
    train(replace(mining, rules=[written, off], rules_revision=7))
    rules = KeywordRules.load(mining.out)
    assert rules.revision == read_manifest(mining.out).rules_revision == 7
    assert written.model_dump() in json.loads((mining.out / "rules.json").read_text(encoding="utf-8"))["rules"]
    assert [found.keyword for found in rules.read("我想跳槽然后升职").matched] == ["跳槽"]


@pytest.mark.parametrize("stage", ["prepare", "keywords", "gate", "suspects"])
def test_an_error_on_the_way_leaves_no_folder(mining: TrainJob, stage: str) -> None:
    with pytest.raises(InterruptedError):
        train(mining, _interrupt_at(stage))
    assert left_behind(mining) == []


def _interrupt_at(stage: str) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.stage == stage:
            raise InterruptedError(stage)

    return report


def test_the_artefact_appears_only_when_all_of_it_is_there(mining: TrainJob) -> None:
    seen: list[bool] = []
    train(mining, lambda _: seen.append(mining.out.exists()))
    assert seen
    assert not any(seen)
    assert left_behind(mining) == ["v1"]
    verify(mining.out, sha256=manifest_sha256(mining.out), roles=TRAINING)
    assert mining.out.stat().st_mode & 0o055 == 0o055, "a replica of another user may read it"


@pytest.mark.parametrize("name", ["model.onnx", WEIGHTS])
def test_a_parent_with_a_flipped_byte_is_refused(job: TrainJob, parent: Path, tmp_path: Path, name: str) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(parent, spoilt)
    content = bytearray((spoilt / name).read_bytes())
    content[len(content) // 2] ^= 1
    (spoilt / name).write_bytes(content)
    with pytest.raises(ArtefactError, match="altered"):
        train(replace(job, parent=str(spoilt)))
    assert left_behind(job) == []


def test_a_parent_that_was_fetched_for_serving_only_cannot_be_trained_on(job: TrainJob, parent: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(parent, half)
    shutil.rmtree(half / "weights")
    verify(half, sha256=None, roles=SERVING)
    with pytest.raises(ArtefactError, match="cannot be read"):
        train(replace(job, parent=str(half)))


@pytest.mark.parametrize("content", [b"no rules", None])
def test_a_sealed_parent_without_readable_rules_is_no_artefact(
    mining: TrainJob, parent: Path, tmp_path: Path, content: bytes | None
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(parent, odd)
    if content is None:
        (odd / "rules.json").unlink()
    else:
        (odd / "rules.json").write_bytes(content)
    seal(odd, read_manifest(odd).model_dump(exclude={"files"}))
    with pytest.raises(ArtefactError, match="rules"):
        train(replace(mining, parent=str(odd)))
    assert left_behind(mining) == []


def test_another_network_than_bert_is_refused(job: TrainJob, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "distilbert", "dim": 32}))
    with pytest.raises(TrainingError, match="is a distilbert; only BERT models can be trained"):
        train(replace(job, parent=str(tmp_path / "other")))
    assert left_behind(job) == []


def test_a_parent_that_is_nothing_is_refused(job: TrainJob, mining: TrainJob, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="cannot be loaded"):
        train(replace(job, parent=str(tmp_path / "empty")))
    with pytest.raises(ArtefactError, match="rules can be mined for a version only"):
        train(replace(mining, parent=str(tmp_path / "empty")))


def test_a_hugging_face_bert_starts_a_first_version(small_bert: Path, job: TrainJob) -> None:
    result = train(replace(job, parent=str(small_bert), extract_keywords=False))
    manifest = read_manifest(job.out)
    assert (manifest.parent, manifest.base_model, manifest.labels) == (None, "small-bert", INTENTS)
    assert result.metrics["serving"] is None
    assert result.outcome == "completed"
    assert (job.out / MANIFEST).exists()


def test_another_base_asks_for_a_full_retraining(small_bert: Path, job: TrainJob) -> None:
    result = train(replace(job, base=str(small_bert), extract_keywords=False))
    manifest = read_manifest(job.out)
    assert result.metrics["full"] == "the base changed from tiny to small-bert"
    assert (manifest.parent, manifest.base_model) == ("v0", "small-bert")
    assert result.metrics["lineage"] == ["v0"]
    assert result.metrics["replay_rows"] > 2000, "everything is learned anew"


def test_an_interrupted_training_goes_on_to_the_same_weights(trained: Path, job: TrainJob, tmp_path: Path) -> None:
    job = replace(job, checkpoints=tmp_path / "checkpoints")

    def interrupt(progress: Progress) -> None:
        if progress.stage == "fine_tune" and progress.step > progress.total_steps / 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(job, interrupt)
    steps: list[Progress] = []
    train(job, lambda progress: steps.append(progress) if progress.stage == "fine_tune" else None)
    assert min(step.step for step in steps) > steps[0].total_steps / 3, "the first epoch is not trained again"
    again, whole = read_manifest(job.out), read_manifest(trained)
    for name in ("model.onnx", WEIGHTS):
        assert again.files[name] == whole.files[name], name
    assert (again.thresholds, again.wide_share) == (whole.thresholds, whole.wide_share)


def test_the_checkpoint_of_other_rows_is_not_taken(job: TrainJob, tmp_path: Path) -> None:
    job = replace(job, checkpoints=tmp_path / "checkpoints")
    steps: list[int] = []
    train(job)
    other = replace(job, rows=FRESH[:-1], out=job.out.with_name("v2"))
    train(other, lambda progress: steps.append(progress.step) if progress.stage == "fine_tune" else None)
    assert min(steps) <= 5


def test_an_intent_that_the_new_rows_lack_is_not_forgotten(trained: Path) -> None:
    """All fresh rows are of one intent; no other one loses more than the gate would allow."""
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
    before, after = (metrics[which]["per_intent"] for which in ("serving", "candidate"))
    lacking = [intent for intent in INTENTS if intent != "career" and before[intent]["support"] >= 10]
    assert len(lacking) >= 9
    assert {intent: after[intent]["f1"] for intent in lacking if after[intent]["f1"] < before[intent]["f1"] - 0.05} == {}


def test_a_model_card_tells_lineage_scores_and_changes_and_shows_pictures(trained: Path) -> None:
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "- lineage: tiny -> v0 -> v1" in card
    assert "## Answers that changed" in card
    for name in ("scores", "reliability", "confusion", "loss"):
        assert f"](plots/{name}.svg)" in card
        assert (trained / "plots" / f"{name}.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert {entry.role for name, entry in read_manifest(trained).files.items() if name.startswith("plots/")} == {"training"}


def test_a_model_tells_nothing_of_the_machine_that_made_it(trained: Path) -> None:
    content = (trained / "model.onnx").read_bytes()
    for place in (str(Path(__file__).parents[3]), "site-packages", ".py"):
        assert place.encode() not in content
