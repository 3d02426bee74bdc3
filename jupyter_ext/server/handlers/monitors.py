"""Routes of monitors: profiles and drift reports."""

from __future__ import annotations

from jupyter_ext.monitoring.values import (
    DriftReportSpec,
    ProfileQuery,
    ProfileSpec,
    ReportQuery,
    StoredDriftReport,
    StoredProfile,
)
from jupyter_ext.server.routing import Call, route
from jupyter_ext.values import Page


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
