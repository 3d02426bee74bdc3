import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { eventsPlugin } from './events';
import { jobsPlugin } from './jobs/plugin';
import { monitorsPlugin } from './monitors/plugin';

export type { Job, JobDetail, JobState } from './api/jobs';
export type { JobsModel, JobsState } from './jobs/model';
export { CommandIDs, IJobs, IServerEvents, MonitorCommandIDs } from './tokens';

/** A plugin a noun. */
const plugins: JupyterFrontEndPlugin<unknown>[] = [eventsPlugin, jobsPlugin, monitorsPlugin];

export default plugins;
