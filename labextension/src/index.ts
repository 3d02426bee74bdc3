import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { jobsPlugin } from './jobs/plugin';

export type { Job, JobDetail, JobState } from './api/jobs';
export type { JobsModel, JobsState } from './jobs/model';
export { CommandIDs, IJobs } from './tokens';

/** A plugin a noun. */
const plugins: JupyterFrontEndPlugin<unknown>[] = [jobsPlugin];

export default plugins;
