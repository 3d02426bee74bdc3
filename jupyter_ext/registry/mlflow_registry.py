"""The verbs of the registry on MLflow's own client. Imported by the worker process only."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, set_registry_uri, set_tracking_uri
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.registry import archive
from jupyter_ext.registry.mlmodel import parse_facts, read_facts
from jupyter_ext.registry.values import ModelFacts

_OURS = "jupyter_ext."
_LINKS = ("dataset_id", "label_set_id", "job_id", "owner")
_FACTS_LIMIT = 90_000


class MlflowRegistry:
    """A tracking and registry store of MLflow, and what we do with it. Everything taken and given is JSON-able.

    Parameters
    ----------
    tracking_uri, registry_uri
        MLflow's own URIs: a database (``sqlite:////…``) or a server (``https://…``). The registry is the tracking
        store's when None. The first connection to an empty database creates its schema.
    artifact_root
        Where new experiments keep their artifacts; None lets an MLflow server decide.
    """

    def __init__(self, tracking_uri: str, registry_uri: str | None = None, artifact_root: str | None = None) -> None:
        set_tracking_uri(tracking_uri)
        set_registry_uri(registry_uri or tracking_uri)
        self._client = MlflowClient(tracking_uri, registry_uri or tracking_uri)
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root.rstrip("/") if artifact_root else None
        # MLmodel files never change, so what was read once is right for ever.
        self._read_facts: dict[str, ModelFacts] = {}

    def ping(self) -> dict[str, Any]:
        """Touch both stores; return MLflow's version."""
        import mlflow

        self._client.search_registered_models(max_results=1)
        self._client.search_experiments(max_results=1)
        return {"mlflow": mlflow.__version__}

    # -- models ------------------------------------------------------------------------------------------------------

    def list_models(self, name: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return a page of models, last changed first: one call, whatever the number of models."""
        found = self._client.search_registered_models(
            filter_string=f"name ILIKE {_quoted(f'%{name}%')}" if name else None,
            max_results=limit,
            order_by=["last_updated_timestamp DESC", "name ASC"],
            page_token=_page_token(cursor),
        )
        return {"items": [_model(item) for item in found], "next_cursor": _cursor(found.token)}

    def get_model(self, name: str) -> dict[str, Any]:
        """Return a model."""
        return _model(self._model(name))

    # -- versions ----------------------------------------------------------------------------------------------------

    def list_versions(self, name: str, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return a page of a model's versions, newest first: four calls, whatever the number of versions."""
        model = self._model(name)
        found = self._client.search_model_versions(
            filter_string=f"name = {_quoted(name)}",
            max_results=limit,
            order_by=["version_number DESC"],
            page_token=_page_token(cursor),
        )
        return {"items": self._describe(name, found, model.aliases), "next_cursor": _cursor(found.token)}

    def get_version(self, name: str, ref: str) -> dict[str, Any]:
        """Return a version by its number or its ``@alias``."""
        model = self._model(name)
        return self._describe(name, [self._version(model, ref)], model.aliases)[0]

    def require_version(self, name: str, version: int) -> None:
        """Raise `NotFound` unless the model has this version."""
        self._version(self._model(name), str(version))

    def pack_version(self, name: str, ref: str, target: str) -> dict[str, Any]:
        """Write a zip of the version's model folder to ``target``."""
        version = self._version(self._model(name), ref)
        with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as temporary:
            folder = Path(self._download(version, temporary))
            if not (folder / "MLmodel").is_file():
                raise NotFound(f"The files of version {version.version} of {name!r} are gone from the artifact store.")
            with Path(target).open("wb") as sink:
                archive.pack(folder, sink)
        return {"version": int(version.version), "size_bytes": Path(target).stat().st_size}

    # -- registering -------------------------------------------------------------------------------------------------

    def register(
        self,
        name: str,
        request: str,
        archive_path: str,
        spec: dict[str, Any],
        links: dict[str, str],
        at_ms: int,
        max_bytes: int,
    ) -> dict[str, Any]:
        """Register a version from a zipped model folder.

        May be called again with the same ``request`` after any failure, even one between two of its steps: every step
        finds what an earlier call left, by the tag ``jupyter_ext.request``, and goes on from there.
        """
        done = self.find_request(name, request)
        if done is not None:
            return done
        with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as temporary:
            folder = Path(temporary, "model")
            archive.unpack(Path(archive_path), folder, max_bytes=max_bytes)
            facts = read_facts(folder)
            try:
                run = self._run_for(name, request, links, at_ms)
                self._log_run(run, spec, at_ms)
                model_id = self._logged_model_for(run, folder, spec["params"])
                self._client.set_terminated(run.info.run_id)
                self._ensure_model(name, request)
                # Last, and all at once: a version that exists is complete.
                self._client.create_model_version(
                    name,
                    source=f"models:/{model_id}",
                    run_id=run.info.run_id,
                    description=spec["description"] or None,
                    tags=spec["tags"] | _own_tags(request, links, facts),
                )
            except (MlflowException, OSError) as error:
                self._discard_after(error, name, request)
                raise
        found = self.find_request(name, request)
        if found is None:
            raise Conflict(f"The version of {name!r} was deleted while it was being registered.")
        return found

    def find_request(self, name: str, request: str) -> dict[str, Any] | None:
        """Return the version that a registration made, or None when it has not got that far."""
        found = self._client.search_model_versions(f"name = {_quoted(name)} AND tags.`{_OURS}request` = '{request}'")
        if not found:
            return None
        return self._describe(name, found[:1], self._model(name).aliases)[0]

    def discard(self, name: str, request: str) -> None:
        """Clear away what a registration left that made no version: files, logged model, run, an empty model."""
        models = self._client.search_registered_models(f"name = {_quoted(name)}")
        if models and models[0].tags.get(f"{_OURS}request") == request and not models[0].latest_versions:
            self._client.delete_registered_model(name)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return
        for run in self._runs(experiment.experiment_id, request):
            for model in self._logged_models(experiment.experiment_id, run.info.run_id):
                _remove_local(model.artifact_location)
                self._client.delete_logged_model(model.model_id)
            self._client.set_terminated(run.info.run_id, "FAILED")
            self._client.delete_run(run.info.run_id)

    # -- aliases -----------------------------------------------------------------------------------------------------

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; again is the same."""
        self._client.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; again is the same."""
        self._client.delete_registered_model_alias(name, alias)

    # -- inside ------------------------------------------------------------------------------------------------------

    def track(self, job: dict[str, Any], points: list[dict[str, Any]], at_ms: int) -> None:
        """Log what a job reported into its run, which is made when it has none, and end it with the job.

        Parameters
        ----------
        job
            Its ``id``, ``name``, ``owner``, ``params``, ``links`` (data set, label set), ``started_ms``, and the
            ``status`` of MLflow that it ended in, None while it goes on.
        points
            ``{"step": int, "metrics": {name: number}}``, of the moment ``at_ms``.
        """
        experiment_id = self._experiment(job["name"])
        runs = self._client.search_runs([experiment_id], f"tags.`{_OURS}tracks` = '{job['id']}'")
        if runs:
            run = runs[0]
        else:
            tags = {f"{_OURS}{key}": value for key, value in job["links"].items() if value}
            tags |= {f"{_OURS}tracks": job["id"], "mlflow.user": job["owner"], "mlflow.runName": job["name"]}
            run = self._client.create_run(experiment_id, start_time=job["started_ms"], tags=tags)
            params = [Param(key, value[:6000]) for key, value in job["params"].items()]
            for some in _batched(params, 100):
                self._client.log_batch(run.info.run_id, params=some)
        metrics = [
            Metric(_metric_name(name), value, at_ms, point["step"])
            for point in points
            for name, value in point["metrics"].items()
        ]
        for part in _batched(metrics, 1000):
            self._client.log_batch(run.info.run_id, metrics=part)
        if job["status"] is not None:
            self._client.set_terminated(run.info.run_id, job["status"], end_time=at_ms)

    def _model(self, name: str) -> RegisteredModel:
        # Not `get_registered_model`, which reads every version of the model to tell the latest.
        found = self._client.search_registered_models(f"name = {_quoted(name)}", max_results=1)
        if not found:
            raise NotFound(f"There is no model {name!r}.", name=name)
        return found[0]

    def _version(self, model: RegisteredModel, ref: str) -> MlflowVersion:
        number = ref
        if ref.startswith("@"):
            if ref[1:] not in model.aliases:
                known = ", ".join(f"@{alias}" for alias in sorted(model.aliases)) or "none"
                raise NotFound(f"The model {model.name!r} has no alias {ref}. Its aliases: {known}.", name=model.name)
            number = model.aliases[ref[1:]]
        if not str(number).isdecimal():
            raise Invalid(f"{ref!r} is neither a version number nor an @alias of {model.name!r}.")
        try:
            return self._client.get_model_version(model.name, str(number))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                newest = max((int(version.version) for version in model.latest_versions), default=None)
                known = f"Its newest is {newest}." if newest else "It has none yet."
                raise NotFound(f"The model {model.name!r} has no version {number}. {known}", name=model.name) from error
            raise

    def _discard_after(self, error: Exception, name: str, request: str) -> None:
        try:
            self.discard(name, request)
        except (MlflowException, OSError) as failed:
            # What made registering fail (a full disk, say) can stop the clearing too; it is tried again later.
            error.add_note(f"Clearing away what it left failed as well: {failed}")

    def _ensure_model(self, name: str, request: str) -> None:
        try:
            self._client.create_registered_model(name, tags={f"{_OURS}request": request})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            location = f"{self._artifact_root}/{name}" if self._artifact_root else None
            try:
                return self._client.create_experiment(name, artifact_location=location)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._experiment(name)
        if experiment.lifecycle_stage != "active":
            raise Conflict(
                f"MLflow's experiment {name!r}, which keeps this model's runs, was deleted. Restore it first "
                f"(MlflowClient().restore_experiment({experiment.experiment_id!r})) or choose another name."
            )
        return str(experiment.experiment_id)

    def _runs(self, experiment_id: str, request: str) -> list[Run]:
        return list(self._client.search_runs([experiment_id], f"tags.`{_OURS}request` = '{request}'"))

    def _logged_models(self, experiment_id: str, run_id: str) -> list[Any]:
        return list(self._client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"))

    def _run_for(self, name: str, request: str, links: dict[str, str], at_ms: int) -> Run:
        experiment_id = self._experiment(name)
        left = self._runs(experiment_id, request)
        if left:
            return left[0]
        tags = {f"{_OURS}{key}": value for key, value in links.items()} | {f"{_OURS}request": request}
        if "owner" in links:
            tags["mlflow.user"] = links["owner"]
        return self._client.create_run(experiment_id, start_time=at_ms, tags=tags)

    def _log_run(self, run: Run, spec: dict[str, Any], at_ms: int) -> None:
        # One fixed time stamp: logged again, a metric is the same row and not a second point.
        metrics = [Metric(key, value, at_ms, 0) for key, value in spec["metrics"].items()]
        params = [Param(key, value) for key, value in spec["params"].items()]
        tags = [RunTag(key, value) for key, value in spec["tags"].items()]
        for part in _batched(metrics, 1000):
            self._client.log_batch(run.info.run_id, metrics=part)
        for some in _batched(params, 100):
            self._client.log_batch(run.info.run_id, params=some)
        if tags:
            self._client.log_batch(run.info.run_id, tags=tags)

    def _logged_model_for(self, run: Run, folder: Path, params: dict[str, str]) -> str:
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        left = self._logged_models(experiment_id, run_id)
        model = left[0] if left else self._client.create_logged_model(experiment_id, "model", run_id, params=params)
        if str(model.status) != "READY":
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
        outputs = self._client.get_run(run_id).outputs
        if outputs is None or not outputs.model_outputs:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        return str(model.model_id)

    def _describe(self, name: str, versions: Iterable[MlflowVersion], aliases: dict[str, str]) -> list[dict[str, Any]]:
        versions = list(versions)
        runs = self._runs_by_id(name, {version.run_id for version in versions if version.run_id})
        names: dict[str, list[str]] = {}
        for alias, number in sorted(aliases.items()):
            names.setdefault(str(number), []).append(alias)
        return [
            self._version_dict(item, names.get(str(item.version), []), runs.get(item.run_id or "")) for item in versions
        ]

    def _runs_by_id(self, name: str, ids: set[str]) -> dict[str, Run]:
        """Return runs: those we made lie in the experiment of the model's name, others' may lie anywhere."""
        experiment = self._client.get_experiment_by_name(name) if ids else None
        found = {} if experiment is None else self._search_runs([experiment.experiment_id], ids)
        others = ids - found.keys()
        if others:
            everywhere = [item.experiment_id for item in self._client.search_experiments(max_results=1000)]
            found |= self._search_runs(everywhere, others)
        return found

    def _search_runs(self, experiments: list[str], ids: set[str]) -> dict[str, Run]:
        found: dict[str, Run] = {}
        for some in _batched(sorted(ids), 200):
            listed = ", ".join(f"'{run_id}'" for run_id in some)
            for run in self._client.search_runs(experiments, f"attributes.run_id IN ({listed})", max_results=200):
                found[run.info.run_id] = run
        return found

    def _version_dict(self, version: MlflowVersion, aliases: list[str], run: Run | None) -> dict[str, Any]:
        source = str(version.source or "")
        return self._facts(version).model_dump(mode="json") | {
            "name": version.name,
            "version": int(version.version),
            "aliases": aliases,
            "description": version.description or "",
            "model_id": source.removeprefix("models:/") if source.startswith("models:/m-") else None,
            "run_id": version.run_id or None,
            "source": source or None,
            "metrics": {key: value for key, value in run.data.metrics.items() if isfinite(value)} if run else {},
            "params": dict(run.data.params) if run else {},
            "tags": {key: value for key, value in version.tags.items() if not key.startswith((_OURS, "mlflow."))},
            "created_at": _moment(version.creation_timestamp),
            **{key: version.tags.get(f"{_OURS}{key}") for key in _LINKS},
        }

    def _facts(self, version: MlflowVersion) -> ModelFacts:
        """Return the facts from the version's own tag; from the ``MLmodel`` file where somebody else registered it."""
        text = version.tags.get(f"{_OURS}facts")
        if text:
            return ModelFacts.model_validate_json(text)
        key = f"{version.name}/{version.version}"
        if key not in self._read_facts:
            with tempfile.TemporaryDirectory(prefix="jupyter-ext-model-") as temporary:
                try:
                    found = Path(self._download(version, temporary, "MLmodel"))
                    self._read_facts[key] = parse_facts(found.read_bytes())
                except (MlflowException, OSError, Invalid):
                    # Listing must not fail because one foreign version's files are gone or odd; it has no facts then.
                    self._read_facts[key] = ModelFacts()
        return self._read_facts[key]

    def _download(self, version: MlflowVersion, folder: str, file: str = "") -> str:
        # What MLflow would answer to a request for the download URI, which reads all the model's versions first.
        root = str(version.source or "").rstrip("/")
        uri = f"{root}/{file}" if file else root
        return str(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._tracking_uri))


def _batched(items: list[Any], size: int) -> Iterable[list[Any]]:
    """Split a list into lists of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _metric_name(name: str) -> str:
    """Return a metric's name with what MLflow refuses replaced.

    Examples
    --------
    >>> _metric_name("loss[val]%")
    'loss_val__'
    """
    return re.sub(r"[^\w./ :-]", "_", name)[:250]


def _own_tags(request: str, links: dict[str, str], facts: ModelFacts) -> dict[str, str]:
    tags = {f"{_OURS}{key}": value for key, value in links.items()} | {f"{_OURS}request": request}
    text = facts.model_dump_json(exclude_defaults=True)
    # MLflow's limit is 100,000; a wider signature is read from the MLmodel file instead.
    return tags | {f"{_OURS}facts": text} if len(text) <= _FACTS_LIMIT else tags


def _model(item: RegisteredModel) -> dict[str, Any]:
    numbers = [int(version.version) for version in item.latest_versions]
    return {
        "name": item.name,
        "description": item.description or "",
        "latest_version": max(numbers, default=None),
        "aliases": {alias: int(number) for alias, number in sorted(item.aliases.items())},
        "created_at": _moment(item.creation_timestamp),
        "updated_at": _moment(item.last_updated_timestamp or item.creation_timestamp),
    }


def _page_token(cursor: str | None) -> str | None:
    """Return the cursor if it is one of MLflow's, which fails in odd ways on others."""
    if cursor is None:
        return None
    try:
        offset = json.loads(base64.b64decode(cursor, validate=True))["offset"]
    except (ValueError, TypeError, KeyError):
        offset = None
    if type(offset) is not int or not 0 <= offset < 2**31:
        raise Invalid("The cursor is not one that this list gave. Leave it out to begin at the start.", field="cursor")
    return cursor


def _cursor(token: str | bytes | None) -> str | None:
    # The SQL store gives bytes where the REST one gives text.
    return (token.decode() if isinstance(token, bytes) else token) or None


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


def _quoted(text: str) -> str:
    """Quote a literal for MLflow's filter language, which knows no escapes.

    Examples
    --------
    >>> _quoted("it's")
    '"it\\'s"'
    """
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise Invalid("A name with both kinds of quotation marks cannot be searched for.")


def _remove_local(uri: str) -> None:
    """Delete a logged model's files where they lie on this machine; MLflow's own deletion only marks the row."""
    path = Path(uri.removeprefix("file://"))
    if path.is_absolute():
        shutil.rmtree(path, ignore_errors=True)
