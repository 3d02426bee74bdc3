"""Routes of monitors: profiles and drift reports; monitors, the windows they judge, alarms and deliveries."""

from __future__ import annotations

from jupyter_ext.monitoring.values import (
    Alarm,
    AlarmQuery,
    Delivery,
    DriftReportSpec,
    Evaluation,
    EvaluationSpec,
    Measurement,
    MeasurementQuery,
    Monitor,
    MonitorChange,
    MonitorQuery,
    MonitorReference,
    MonitorSpec,
    ProfileQuery,
    ProfileSpec,
    ReportQuery,
    StoredDriftReport,
    StoredProfile,
)
from jupyter_ext.server.routing import Call, route
from jupyter_ext.values import Page, Query


@route("GET", "/monitors/profiles", resource="monitors")
def list_profiles(call: Call, query: ProfileQuery) -> Page[StoredProfile]:
    """List profiles, newest first. With ``name``, everything that was stored under it."""
    return call.workspace.monitors.list_profiles(query, owner=call.user)


@route("POST", "/monitors/profiles", resource="monitors", status=201)
def save_profile(call: Call, body: ProfileSpec) -> StoredProfile:
    """Store an uploaded profile. The server checks that the blob is a whole profile of that many rows."""
    return call.workspace.monitors.save_profile(body, owner=call.user)


@route("GET", "/monitors/profiles/{profile_id}", resource="monitors")
def get_profile(call: Call, profile_id: str) -> StoredProfile:
    """Return a stored profile; its content is the blob."""
    return call.workspace.monitors.get_profile(profile_id, owner=call.user)


@route("GET", "/monitors/reports", resource="monitors", tracks_activity=False)
def list_reports(call: Call, query: ReportQuery) -> Page[StoredDriftReport]:
    """List drift reports, newest first. With ``model``, those of the model and of all its versions."""
    return call.workspace.monitors.list_reports(query, owner=call.user)


@route("POST", "/monitors/reports", resource="monitors", status=201)
def save_report(call: Call, body: DriftReportSpec) -> StoredDriftReport:
    """Store a drift report."""
    return call.workspace.monitors.save_report(body, owner=call.user)


@route("GET", "/monitors/reports/{report_id}", resource="monitors", tracks_activity=False)
def get_report(call: Call, report_id: str) -> StoredDriftReport:
    """Return a drift report with the test of every feature."""
    return call.workspace.monitors.get_report(report_id, owner=call.user)


@route("GET", "/monitors", resource="monitors", tracks_activity=False)
def list_monitors(call: Call, query: MonitorQuery) -> Page[Monitor]:
    """List monitors, newest first."""
    return call.workspace.monitors.list_monitors(query, owner=call.user)


@route("POST", "/monitors", resource="monitors", status=201)
def create_monitor(call: Call, body: MonitorSpec) -> Monitor:
    """Make a monitor of a model version or a data set."""
    return call.workspace.monitors.create(body, owner=call.user)


@route("GET", "/monitors/{monitor_id}", resource="monitors", tracks_activity=False)
def get_monitor(call: Call, monitor_id: str) -> Monitor:
    """Return a monitor and where it stands."""
    return call.workspace.monitors.get(monitor_id, owner=call.user)


@route("PATCH", "/monitors/{monitor_id}", resource="monitors")
def change_monitor(call: Call, monitor_id: str, body: MonitorChange) -> Monitor:
    """Pause a monitor, let it go on, or give it another reference."""
    return call.workspace.monitors.change(monitor_id, body, owner=call.user)


@route("DELETE", "/monitors/{monitor_id}", resource="monitors")
def delete_monitor(call: Call, monitor_id: str) -> None:
    """Delete a monitor with its history."""
    call.workspace.monitors.delete(monitor_id, owner=call.user)


@route("GET", "/monitors/{monitor_id}/reference", resource="monitors")
def get_reference(call: Call, monitor_id: str) -> MonitorReference:
    """Return what a monitor's windows are measured against: blobs of the profile, and of the rows if a check asks."""
    return call.workspace.monitors.reference(monitor_id, owner=call.user)


@route("GET", "/monitors/{monitor_id}/evaluations", resource="monitors", tracks_activity=False)
def list_evaluations(call: Call, monitor_id: str, query: Query) -> Page[Evaluation]:
    """List the windows that a monitor judged, newest first, each with the rules that it broke."""
    service = call.workspace.monitors
    return service.evaluations.windows(service.get(monitor_id, owner=call.user), query)


@route("POST", "/monitors/{monitor_id}/evaluations", resource="monitors", status=201)
def record_evaluation(call: Call, monitor_id: str, body: EvaluationSpec) -> Evaluation:
    """Judge a window that was measured. The same key again is the same evaluation."""
    service = call.workspace.monitors
    return service.evaluations.record(service.get(monitor_id, owner=call.user), body)


@route("GET", "/monitors/{monitor_id}/measurements", resource="monitors", tracks_activity=False)
def list_measurements(call: Call, monitor_id: str, query: MeasurementQuery) -> Page[Measurement]:
    """List what was measured, ``limit`` windows at a time, the newest first: all of it, a check's or a feature's."""
    service = call.workspace.monitors
    return service.evaluations.measurements(service.get(monitor_id, owner=call.user), query)


@route("GET", "/monitors/{monitor_id}/deliveries", resource="monitors", tracks_activity=False)
def list_deliveries(call: Call, monitor_id: str, query: Query) -> Page[Delivery]:
    """List the messages about a monitor's alarms, newest first, and what became of them."""
    service = call.workspace.monitors
    return service.evaluations.deliveries(service.get(monitor_id, owner=call.user), query)


@route("GET", "/monitors/alarms", resource="monitors", tracks_activity=False)
def list_alarms(call: Call, query: AlarmQuery) -> Page[Alarm]:
    """List alarms, newest first: those of a monitor or of a state; ``active`` is pending or firing."""
    return call.workspace.monitors.evaluations.alarms(query, owner=call.user)
