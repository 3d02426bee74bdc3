import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { ServerEvents } from '../api/events';
import { IServerEvents, TRANSLATION_DOMAIN } from '../tokens';
import { type IMonitorEvent, tellAlarms } from './alarms';

/** Notifications of the alarms of monitors. */
export const monitorsPlugin: JupyterFrontEndPlugin<void> = {
  id: '@jupyter-ext/lab:monitors',
  description: 'Notifications when alarms of monitors fire and when they are resolved.',
  autoStart: true,
  requires: [IServerEvents],
  optional: [ITranslator],
  activate: (_app: JupyterFrontEnd, events: ServerEvents, translator: ITranslator | null): void => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    events.stream<IMonitorEvent>('monitor').received.connect((_, event) => tellAlarms(event, trans));
  }
};
