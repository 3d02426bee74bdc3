import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { MonitorEvent } from '../api/monitors';

/** How many alarms of one window are written out. */
const SHOWN = 3;

/** Show what fired, until somebody closes it, and what was resolved, for a while; and how to look at the monitor. */
export function tellAlarms(event: MonitorEvent, show: (monitorId: string) => void, trans: TranslationBundle): void {
  if (event.what !== 'evaluation' || !event.notify) {
    return;
  }
  const who = event.model
    ? trans.__('Monitor “%1” of %2', event.name, event.model)
    : trans.__('Monitor “%1”', event.name);
  const { monitor_id: id } = event;
  const actions = id === undefined ? [] : [{ label: trans.__('Show'), callback: () => show(id) }];
  if (event.fired?.length) {
    Notification.warning(`${who}: ${listed(event.fired, trans)}`, { autoClose: false, actions });
  }
  if (event.resolved?.length) {
    Notification.success(trans.__('%1: resolved. %2', who, listed(event.resolved, trans)), {
      autoClose: 10_000,
      actions
    });
  }
}

function listed(messages: string[], trans: TranslationBundle): string {
  const more = messages.length - SHOWN;
  const shown = messages.slice(0, SHOWN).join(' ');
  return more > 0 ? `${shown} ${trans._n('And %1 more.', 'And %1 more.', more)}` : shown;
}
