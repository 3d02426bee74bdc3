import { Notification } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';

/** What the server tells of monitors; only judged windows have alarms. */
export interface IMonitorEvent {
  readonly what: 'report' | 'evaluation';
  readonly name: string;
  readonly model: string | null;
  readonly owner: string;
  /** What the alarms that fired say, and those that were resolved. */
  readonly fired?: string[];
  readonly resolved?: string[];
  /** Whether the monitor's alarms are told here. */
  readonly notify?: boolean;
}

/** How many alarms of one window are written out. */
const SHOWN = 3;

/** Show what fired, until somebody closes it, and what was resolved, for a while. */
export function tellAlarms(event: IMonitorEvent, trans: TranslationBundle): void {
  if (event.what !== 'evaluation' || !event.notify) {
    return;
  }
  const who = event.model
    ? trans.__('Monitor “%1” of %2', event.name, event.model)
    : trans.__('Monitor “%1”', event.name);
  if (event.fired?.length) {
    Notification.warning(`${who}: ${listed(event.fired, trans)}`, { autoClose: false });
  }
  if (event.resolved?.length) {
    Notification.success(trans.__('%1: resolved. %2', who, listed(event.resolved, trans)), { autoClose: 10_000 });
  }
}

function listed(messages: string[], trans: TranslationBundle): string {
  const more = messages.length - SHOWN;
  const shown = messages.slice(0, SHOWN).join(' ');
  return more > 0 ? `${shown} ${trans._n('And %1 more.', 'And %1 more.', more)}` : shown;
}
