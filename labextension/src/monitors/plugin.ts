import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { ServerEvents } from '../api/events';
import { type MonitorEvent, monitorsApi } from '../api/monitors';
import { IServerEvents, MonitorCommandIDs, TRANSLATION_DOMAIN } from '../tokens';
import { tellAlarms } from './alarms';
import { addMonitorCommands } from './commands';
import { MonitorsModel } from './model';
import { MonitorsPanel } from './panel';

/** Among the side panels: after that of jobs. */
const RANK = 560;

/** The Monitors side panel, and notifications of alarms. */
export const monitorsPlugin: JupyterFrontEndPlugin<void> = {
  id: '@jupyter-ext/lab:monitors',
  description: 'A side panel with the monitors of this server and their alarms, and notifications of these.',
  autoStart: true,
  requires: [IServerEvents],
  optional: [ITranslator, ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    events: ServerEvents,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const stream = events.stream<MonitorEvent>('monitor');
    const model = new MonitorsModel(monitorsApi(app.serviceManager.serverSettings), stream);
    const run = (command: string, monitor_id: string): void => void app.commands.execute(command, { monitor_id });
    const panel = new MonitorsPanel(
      model,
      {
        pause: id => run(MonitorCommandIDs.pauseMonitor, id),
        resume: id => run(MonitorCommandIDs.resumeMonitor, id),
        delete: id => run(MonitorCommandIDs.deleteMonitor, id),
        copyCode: id => run(MonitorCommandIDs.copyMonitorCode, id)
      },
      translator ?? nullTranslator
    );
    addMonitorCommands(app, model, () => panel, trans);
    Object.values(MonitorCommandIDs).forEach(command => palette?.addItem({ command, category: trans.__('Monitors') }));
    app.shell.add(panel, 'left', { rank: RANK, type: 'Monitors' });
    restorer?.add(panel, panel.id);
    stream.received.connect((_, event) => tellAlarms(event, id => run(MonitorCommandIDs.openMonitor, id), trans));
    void app.restored.then(() => model.start());
  }
};
