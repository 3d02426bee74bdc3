"""The background work of monitors: windows that jobs measured come in, messages about alarms go out."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic import ValidationError
from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyter_ext.errors import Conflict, Invalid, JupyterExtError, NotFound
from jupyter_ext.monitoring import delivery as messages
from jupyter_ext.monitoring import tables
from jupyter_ext.monitoring.evaluations import alarm_of
from jupyter_ext.monitoring.inbox import FOLDER, Letter
from jupyter_ext.monitoring.meters import Meters
from jupyter_ext.monitoring.values import AlertmanagerRoute, Monitor, WebhookRoute
from jupyter_ext.store import Row, now

if TYPE_CHECKING:
    from jupyter_ext.monitoring.service import MonitorService
    from jupyter_ext.monitoring.values import Alarm

_LOOK_S, _BATCH = 2.0, 50
#: How long a message that is being sent is left alone by the other servers.
_HELD_S = 3 * messages.TIMEOUT_S
#: Waits between attempts, in seconds; the last one repeats.
_WAITS_S = (10.0, 30.0, 120.0, 600.0, 3600.0)


class MonitorWatcher(LoggingConfigurable):
    """Takes in what jobs measured, sends what is to be sent, and keeps the meters for Prometheus.

    Parameters
    ----------
    owner
        Whose monitors the meters are of; those of others are not for this server's readers.

    Notes
    -----
    Several servers may run one on the same database: each message is taken by one of them at a time. A message whose
    sender died in the middle is sent again, under the same id.
    """

    inbox_every_s = Float(
        10.0, help="How often to look for windows that jobs measured, and to set the meters, in seconds."
    ).tag(config=True)
    resend_s = Float(
        60.0,
        help="How often an Alertmanager is told again of an alarm that lasts; it forgets one after five times that.",
    ).tag(config=True)
    give_up_after_s = Float(86_400.0, help="How long a message is tried to be delivered, in seconds.").tag(config=True)

    def __init__(self, monitors: MonitorService, *, owner: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._monitors = monitors
        self._store = monitors.store
        self._meters = Meters(monitors.store, owner)
        self._client: Any = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="jupyter-ext-monitors", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End. What was not sent is sent after the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._client is not None:
            self._client.close()

    def _run(self) -> None:
        looks = 0
        while not self._stopping.is_set():
            try:
                seldom = looks % max(1, int(self.inbox_every_s / _LOOK_S)) == 0
                if seldom:
                    self.take_in()
                self.send_due()
                if seldom:
                    self._meters.refresh()
            except JupyterExtError as error:
                self.log.warning("Monitors wait: %s", error)
            except Exception:
                # The thread outlives any single round: the alarms of all monitors depend on it.
                self.log.exception("A round of the monitors failed; trying again")
            looks += 1
            self._stopping.wait(_LOOK_S)

    # -- in ----------------------------------------------------------------------------------------------------------

    def take_in(self) -> int:
        """Judge the windows that jobs have left in the object store; return how many."""
        letters = self._store.objects.list(FOLDER)
        taken = 0
        # In the order in which they were written, so that no window comes after a later one.
        for info in sorted(letters, key=lambda info: info.path):
            try:
                data = self._store.objects.get(info.path)
            except NotFound:
                continue  # another server was quicker
            try:
                letter = Letter.model_validate_json(data)
                monitor = self._monitors.get(letter.monitor_id, owner=letter.owner)
                self._monitors.evaluations.record(monitor, letter.evaluation)
                taken += 1
            except (ValidationError, Invalid, Conflict, NotFound) as error:
                # What is refused now is refused later too: the monitor is paused or gone.
                self.log.warning("What a job measured was refused (%s): %s", info.path, error)
            self._store.objects.delete(info.path)
        return taken

    # -- out ---------------------------------------------------------------------------------------------------------

    def send_due(self) -> int:
        """Send the messages whose time has come; return how many."""
        table = tables.delivery
        due = sa.select(table).where(table.c.next_at <= now()).order_by(table.c.next_at, table.c.id).limit(_BATCH)
        with self._store.read() as tx:
            rows = tx.all(due)
        sent = 0
        for row in rows:
            if self._stopping.is_set():
                break
            sent += self._send(row)
        return sent

    def _send(self, row: Row) -> bool:
        moment = now()
        table = tables.delivery
        held = {"next_at": moment + timedelta(seconds=_HELD_S), "attempts": row["attempts"] + 1}
        with self._store.write() as tx:
            mine = (table.c.id == row["id"]) & (table.c.next_at == row["next_at"])
            if tx.execute(sa.update(table).where(mine).values(**held)).rowcount == 0:
                return False
            facts = tx.one_or_none(sa.select(tables.monitor).where(tables.monitor.c.id == row["monitor_id"]))
            assert facts is not None  # a monitor takes its messages along
            alarms = self._alarms(tx, row["alarm_ids"], facts)
        monitor = Monitor.model_validate({**facts, "pending": 0, "firing": 0})
        route = monitor.routes[row["position"]]
        if isinstance(route, AlertmanagerRoute) and row["event"] == "fired":
            # What is resolved by now has a message of its own.
            alarms = [one for one in alarms if one.state == "firing"]
            if not alarms:
                self._finish(row, {"state": "delivered", "next_at": None})
                return False
        answer = messages.send(self._http(), self._request(row, route, monitor, alarms, moment))
        self._meters.count(route.kind, "delivered" if not answer.error else "failed")
        self._finish(row, self._outcome(row, route, answer, moment))
        return True

    def _request(
        self, row: Row, route: Any, monitor: Monitor, alarms: list[Alarm], moment: datetime
    ) -> messages.Request:
        if isinstance(route, WebhookRoute):
            return messages.webhook(route, route.secret, row["id"], monitor, row["event"], alarms, moment)
        return messages.alertmanager(route, monitor, alarms, moment, 5 * self.resend_s)

    def _outcome(self, row: Row, route: Any, answer: messages.Answer, moment: datetime) -> dict[str, Any]:
        facts: dict[str, Any] = {"status": answer.status, "error": answer.error}
        repeats = isinstance(route, AlertmanagerRoute) and row["event"] == "fired"
        if not answer.error:
            facts["delivered_at"] = row["delivered_at"] or moment
            if repeats:
                return facts | {"state": "repeating", "next_at": moment + timedelta(seconds=self.resend_s)}
            return facts | {"state": "delivered", "next_at": None}
        if repeats and row["delivered_at"] is not None:
            return facts | {"next_at": moment + timedelta(seconds=self.resend_s)}
        too_late = (moment - row["created_at"]).total_seconds() > self.give_up_after_s
        if too_late or not answer.worth_another:
            self.log.error("A message of monitor %s was not delivered: %s", row["monitor_id"], answer.error)
            return facts | {"state": "failed", "next_at": None}
        wait = _WAITS_S[min(row["attempts"], len(_WAITS_S) - 1)]
        return facts | {"next_at": moment + timedelta(seconds=wait)}

    def _finish(self, row: Row, facts: dict[str, Any]) -> None:
        table = tables.delivery
        with self._store.write() as tx:
            tx.execute(sa.update(table).where(table.c.id == row["id"]).values(**facts))

    def _alarms(self, tx: Any, alarm_ids: list[str], monitor: Row) -> list[Alarm]:
        rows = tx.all(sa.select(tables.alarm).where(tables.alarm.c.id.in_(alarm_ids)).order_by(tables.alarm.c.id))
        return [alarm_of(row, monitor["name"], monitor["model"]) for row in rows]

    def _http(self) -> Any:
        if self._client is None:
            import httpx

            # Nobody is redirected: the message is for the address that was given.
            self._client = httpx.Client(follow_redirects=False)
        return self._client
