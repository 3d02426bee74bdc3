import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ServerEvents } from './api/events';
import { IServerEvents } from './tokens';

/** The server's events, on one socket that all panels share. */
export const eventsPlugin: JupyterFrontEndPlugin<ServerEvents> = {
  id: '@jupyter-ext/lab:events',
  description: 'The events of jobs, clusters and monitors, on one socket.',
  autoStart: true,
  provides: IServerEvents,
  activate: (app: JupyterFrontEnd): ServerEvents => new ServerEvents(app.serviceManager.serverSettings)
};
