#!/bin/sh
# Install what some tests need from the system: a browser, PostgreSQL, Redis, Alertmanager. Where apt-get is not allowed, say which
# tests will be skipped instead; the tests themselves find out again and give the reason.
set -u

missing=""
have() { command -v "$1" >/dev/null 2>&1; }
postgres() { have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }

look() {
  missing=""
  have chromium || have chromium-browser || have google-chrome || missing="$missing chromium"
  postgres || missing="$missing postgresql"
  have redis-server || missing="$missing redis-server"
  have prometheus-alertmanager || have alertmanager || missing="$missing prometheus-alertmanager"
}

look
if [ -n "$missing" ] && have apt-get; then
  as_root=""
  [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
  if [ -z "$as_root" ] || sudo -n true 2>/dev/null; then
    echo "Installing$missing with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null || echo "apt-get could not install$missing"
    look
  fi
fi

for package in $missing; do
  case $package in
    chromium) echo "No chromium: tests/browser will be skipped." ;;
    postgresql) echo "No postgresql: the tests of the store on PostgreSQL will be skipped." ;;
    redis-server) echo "No redis-server: the tests that need Redis will be skipped." ;;
    prometheus-alertmanager) echo "No prometheus-alertmanager: the tests of alarms' way there will be skipped." ;;
  esac
done
