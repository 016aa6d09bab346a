"""Jobs really run: XGBoost, commands, scripts, transforms, events, restarts."""

from __future__ import annotations

import io
import json
import random
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .support import (
    OTHER_IMAGE,
    ROLE,
    XGBOOST,
    Plane,
    client,
    ended,
    messages,
    objects,
    own_command,
    processing,
    training,
    until,
)  # fmt: skip

FOREVER = "import time\nprint('begun', flush=True)\ntime.sleep(60)"


def rows(count: int, *, label: bool, seed: int) -> bytes:
    """Return CSV rows whose label is easy to tell from the first two of three features."""
    source = random.Random(seed)
    lines = []
    for _ in range(count):
        features = [source.gauss(0, 1) for _ in range(3)]
        target = int(features[0] + features[1] + source.gauss(0, 0.3) > 0)
        lines.append(",".join(f"{value:.5f}" for value in features) if not label else f"{target}," + ",".join(f"{v:.5f}" for v in features))
    return ("\n".join(lines) + "\n").encode()


async def put_tables(s3: Any, bucket: str) -> None:
    """Store train, validation and score tables."""
    await s3.put_object(Bucket=bucket, Key="train/a.csv", Body=rows(300, label=True, seed=1))
    await s3.put_object(Bucket=bucket, Key="train/b.csv", Body=rows(300, label=True, seed=2))
    await s3.put_object(Bucket=bucket, Key="validation/a.csv", Body=rows(200, label=True, seed=3))
    await s3.put_object(Bucket=bucket, Key="score/2026/day one.csv", Body=rows(57, label=False, seed=4))


def transform(name: str, bucket: str, **changes: Any) -> dict[str, Any]:
    """Return a request for a transform job over `score/`."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/score/"}}
    request = {
        "TransformJobName": name,
        "ModelName": "easy",
        "BatchStrategy": "MultiRecord",
        "TransformInput": {"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/{name}", "AssembleWith": "Line", "Accept": "text/csv"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    return {**request, **changes}


async def test_xgboost_trains_and_transform_predicts(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    await sagemaker.create_training_job(**training("easy", bucket))
    assert await ended(plane, "easy") == "Completed"
    job = await sagemaker.describe_training_job(TrainingJobName="easy")
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    assert metrics["validation:auc"] > 0.8
    assert "[0]#011train-auc:" in plane.log("training", "easy")
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact == f"s3://{bucket}/models/easy/output/model.tar.gz"

    container = {"Image": XGBOOST, "ModelDataUrl": artifact}
    await sagemaker.create_model(ModelName="easy", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    await sagemaker.create_transform_job(**transform("plain", bucket))
    joined = {"InputFilter": "$[0:3]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    await sagemaker.create_transform_job(**transform("joined", bucket, DataProcessing=joined))
    assert [await ended(plane, name) for name in ("plain", "joined")] == ["Completed", "Completed"]

    score = rows(57, label=False, seed=4).decode().splitlines()
    plain = (await objects(s3, bucket, "plain/"))["plain/2026/day one.csv.out"].decode().splitlines()
    assert len(plain) == len(score)
    easy = [(sum(map(float, row.split(",")[:2])) > 0) == (float(p) > 0.5) for row, p in zip(score, plain, strict=True)]
    assert sum(easy) > 45
    pairs = (await objects(s3, bucket, "joined/"))["joined/2026/day one.csv.out"].decode().splitlines()
    assert pairs == [f"{row.split(',')[0]},{p}" for row, p in zip(score, plain, strict=True)]


async def test_same_data_and_seed_give_same_model(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    for name in ("one", "two"):
        await sagemaker.create_training_job(**training(name, bucket))
    assert [await ended(plane, name) for name in ("one", "two")] == ["Completed", "Completed"]
    models = []
    for name in ("one", "two"):
        packed = (await objects(s3, bucket, f"models/{name}/"))[f"models/{name}/output/model.tar.gz"]
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            member = tar.extractfile("xgboost-model")
            assert member is not None
            models.append(member.read())
    assert models[0] == models[1]


async def test_unknown_hyperparameter_fails_naming_the_allowed(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await put_tables(s3, bucket)
    await sagemaker.create_training_job(**training("unknown", bucket, HyperParameters={"num_round": "1", "depth": "3"}))
    assert await ended(plane, "unknown") == "Failed"
    reason = (await sagemaker.describe_training_job(TrainingJobName="unknown"))["FailureReason"]
    assert reason.startswith("AlgorithmError: unknown hyperparameter depth; allowed are ")
    assert reason.endswith(", exit code: 1")


async def test_processing_reads_inputs_and_uploads_outputs(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await s3.put_object(Bucket=bucket, Key="raw/deep/a.txt", Body=b"hello")
    code = (
        "import os, pathlib; base = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'])\n"
        "text = (base / 'processing/input/raw/deep/a.txt').read_text() + os.environ['GREETED']\n"
        "(base / 'processing/output/prepared/sub').mkdir()\n"
        "(base / 'processing/output/prepared/sub/out.txt').write_text(text)\n"
        "(base / 'output/message').write_text('said hello')\n"
        "assert (base / 'config/processingjobconfig.json').exists() and 'SECRET' not in os.environ\n"
    )
    await sagemaker.create_processing_job(**processing("prepare", bucket, code, Environment={"GREETED": " world"}))
    assert await ended(plane, "prepare") == "Completed", plane.log("processing", "prepare")
    assert await objects(s3, bucket, "prepared/") == {"prepared/sub/out.txt": b"hello world"}
    assert (await sagemaker.describe_processing_job(ProcessingJobName="prepare"))["ExitMessage"] == "said hello"


async def test_manifest_brings_only_its_objects(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    for key in ("raw/a.txt", "raw/b.txt"):
        await s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    await s3.put_object(Bucket=bucket, Key="lists/m.json", Body=json.dumps([{"prefix": f"s3://{bucket}/raw/"}, "b.txt"]).encode())
    code = "import os; print(os.listdir(os.environ['SAGEMAKER_BASE_DIR'] + '/processing/input/raw'))"
    request = processing("manifest", bucket, code)
    request["ProcessingInputs"][0]["S3Input"] |= {"S3DataType": "ManifestFile", "S3Uri": f"s3://{bucket}/lists/m.json"}
    await sagemaker.create_processing_job(**request)
    assert await ended(plane, "manifest") == "Completed"
    assert plane.log("processing", "manifest").strip() == "['b.txt']"


async def test_missing_input_fails_naming_the_address(plane: Plane, sagemaker: Any, bucket: str) -> None:
    await sagemaker.create_processing_job(**processing("no-input", bucket, "pass"))
    assert await ended(plane, "no-input") == "Failed"
    assert f"s3://{bucket}/raw" in (await sagemaker.describe_processing_job(ProcessingJobName="no-input"))["FailureReason"]


async def test_failure_file_becomes_the_failure_reason(plane: Plane, sagemaker: Any, bucket: str) -> None:
    code = "import os; open(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('labels are missing'); raise SystemExit(3)"
    await sagemaker.create_training_job(**own_command("with-file", bucket, code))
    await sagemaker.create_training_job(**own_command("without-file", bucket, "raise ValueError('only in the log')"))
    assert [await ended(plane, name) for name in ("with-file", "without-file")] == ["Failed", "Failed"]
    job = await sagemaker.describe_training_job(TrainingJobName="with-file")
    assert (job["FailureReason"], job["SecondaryStatus"]) == ("AlgorithmError: labels are missing, exit code: 3", "Failed")
    assert "only in the log" in (await sagemaker.describe_training_job(TrainingJobName="without-file"))["FailureReason"]


async def test_image_without_command_fails_with_advice(plane: Plane, sagemaker: Any, bucket: str) -> None:
    request = own_command("image-only", bucket, "pass")
    request["AlgorithmSpecification"] = {"TrainingImage": OTHER_IMAGE, "TrainingInputMode": "File"}
    await sagemaker.create_training_job(**request)
    assert await ended(plane, "image-only") == "Failed"
    reason = (await sagemaker.describe_training_job(TrainingJobName="image-only"))["FailureReason"]
    assert "no container engine" in reason
    assert "ContainerEntrypoint" in reason


async def test_script_mode_gets_decoded_arguments_and_metrics(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    script = b"import os, sys; print(sys.argv[1:]); print('auc=0.75;'); open(os.environ['SM_MODEL_DIR'] + '/m', 'w').write('m')"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script))
    await s3.put_object(Bucket=bucket, Key="code.tar.gz", Body=packed.getvalue())
    mode = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": f'"s3://{bucket}/code.tar.gz"'}
    settings = {**mode, "depth": "3", "name": '"x"'}
    request = own_command("script", bucket, "pass") | {"HyperParameters": settings}
    definitions = [{"Name": "auc", "Regex": "auc=([0-9.]+);"}]
    request["AlgorithmSpecification"] = {"TrainingImage": OTHER_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": definitions}
    await sagemaker.create_training_job(**request)
    assert await ended(plane, "script") == "Completed"
    assert plane.log("training", "script").startswith("['--depth', '3', '--name', 'x']")
    assert (await sagemaker.describe_training_job(TrainingJobName="script"))["FinalMetricDataList"][0]["Value"] == 0.75


def begun(plane: Plane, kind: str, name: str) -> Callable[[], bool]:
    """Tell whether a job's program has printed that it began."""
    return lambda: (plane.root / "jobs" / kind / name / "log.txt").exists() and "begun" in plane.log(kind, name)


async def test_stop_ends_running_and_waiting_jobs(plane: Plane, sagemaker: Any, bucket: str) -> None:
    await sagemaker.create_training_job(**own_command("running", bucket, FOREVER))
    await sagemaker.create_training_job(**own_command("waiting", bucket, FOREVER))
    await until(begun(plane, "training", "running"))
    for name in ("waiting", "running"):
        await sagemaker.stop_training_job(TrainingJobName=name)
        assert await ended(plane, name) == "Stopped"
    with pytest.raises(sagemaker.exceptions.ClientError, match="is in status Stopped"):
        await sagemaker.stop_training_job(TrainingJobName="running")


async def test_max_runtime_stops_job_and_keeps_model(plane: Plane, sagemaker: Any, bucket: str) -> None:
    code = "import os, time; open(os.environ['SM_MODEL_DIR'] + '/checkpoint', 'w').write('m'); time.sleep(60)"
    await sagemaker.create_training_job(**own_command("too-long", bucket, code, StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert await ended(plane, "too-long") == "Stopped"
    job = await sagemaker.describe_training_job(TrainingJobName="too-long")
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/too-long/output/model.tar.gz")


async def test_processing_over_its_runtime_is_stopped(plane: Plane, sagemaker: Any, s3: Any, bucket: str) -> None:
    await s3.put_object(Bucket=bucket, Key="raw/a.txt", Body=b"x")
    await sagemaker.create_processing_job(**processing("slow", bucket, FOREVER, StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert await ended(plane, "slow") == "Stopped"
    assert "MaxRuntimeInSeconds" in (await sagemaker.describe_processing_job(ProcessingJobName="slow"))["ExitMessage"]


async def test_state_changes_reach_the_queue_with_duplicates(start_plane: Callable[..., Plane], bucket: str) -> None:
    async with client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName=f"events-{bucket}"))["QueueUrl"]
        plane = start_plane("--events-queue-url", url, "--duplicate-events", "1")
        async with client("sagemaker", plane.url) as sagemaker:
            await sagemaker.create_training_job(**own_command("told", bucket, "pass", Tags=[{"Key": "plan", "Value": "7"}]))
            assert await ended(plane, "told") == "Completed"
        assert plane.stop() == 0  # sends what is left
        events: list[Any] = []
        while batch := await messages(sqs, url):
            events += batch
    last = [event for event in events if event["detail"]["TrainingJobStatus"] == "Completed"]
    assert len(last) == 2
    assert last[0]["id"] == last[1]["id"]
    assert (last[0]["source"], last[0]["detail-type"]) == ("aws.sagemaker", "SageMaker Training Job State Change")
    assert last[0]["detail"]["TrainingJobName"] == "told"
    assert last[0]["detail"]["Tags"] == {"plan": "7"}
    assert last[0]["detail"]["CreationTime"] > 1_600_000_000_000
    assert {event["detail"]["SecondaryStatus"] for event in events} == {"Starting", "Downloading", "Training", "Uploading", "Completed"}


async def test_unreachable_queue_does_not_stop_jobs(start_plane: Callable[..., Plane], bucket: str) -> None:
    plane = start_plane("--events-queue-url", "http://127.0.0.1:1/000000000000/nowhere")
    async with client("sagemaker", plane.url) as sagemaker:
        await sagemaker.create_training_job(**own_command("untold", bucket, "pass"))
        assert await ended(plane, "untold") == "Completed"


# Counts its runs in a file; fails if an earlier run is still alive (a zombie that init has not collected yet is not).
RERUN = """
import os, pathlib, sys, time
book = pathlib.Path({book!r})
for line in book.read_text().split() if book.exists() else []:
    stat = pathlib.Path('/proc', line, 'stat')
    if stat.exists() and stat.read_text().rpartition(')')[2].split()[0] not in 'ZX':
        sys.exit('two at once: ' + stat.read_text())
runs = len(book.read_text().split()) if book.exists() else 0
with book.open('a') as out: out.write(str(os.getpid()) + chr(10))
print('begun', flush=True)
time.sleep(60 if runs == 0 else 0)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_restart_runs_an_interrupted_job_again(start_plane: Callable[..., Plane], bucket: str, tmp_path: Path, number: int) -> None:
    plane, book = start_plane(), tmp_path / "book"
    async with client("sagemaker", plane.url) as sagemaker:
        await sagemaker.create_training_job(**own_command("interrupted", bucket, RERUN.format(book=str(book))))
        await sagemaker.create_training_job(**own_command("queued", bucket, "pass"))
    await until(begun(plane, "training", "interrupted"))
    plane.process.send_signal(number)
    assert plane.process.wait(timeout=15) == (-9 if number == signal.SIGKILL else 0)
    plane.start()
    assert [await ended(plane, name) for name in ("interrupted", "queued")] == ["Completed", "Completed"]
    assert len(book.read_text().split()) == 2
    async with client("sagemaker", plane.url) as sagemaker:
        job = await sagemaker.describe_training_job(TrainingJobName="interrupted")
    assert "Interrupted" in [step["Status"] for step in job["SecondaryStatusTransitions"]]
