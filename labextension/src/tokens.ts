import { Token } from '@lumino/coreutils';
import type { ServerEvents } from './api/events';
import type { JobsModel } from './jobs/model';

/** The ids of the commands of jobs and clusters. */
export namespace CommandIDs {
  export const showJobs = 'jupyter-ext:show-jobs';
  export const openJob = 'jupyter-ext:open-job';
  export const pauseJob = 'jupyter-ext:pause-job';
  export const resumeJob = 'jupyter-ext:resume-job';
  export const cancelJob = 'jupyter-ext:cancel-job';
  export const copyJobId = 'jupyter-ext:copy-job-id';
  export const saveJobLog = 'jupyter-ext:save-job-log';
  export const openJobNotebook = 'jupyter-ext:open-job-notebook';
  export const refreshJobs = 'jupyter-ext:refresh-jobs';
  export const startCluster = 'jupyter-ext:start-cluster';
  export const stopCluster = 'jupyter-ext:stop-cluster';
}

/** The ids of the commands of monitors. */
export namespace MonitorCommandIDs {
  export const showMonitors = 'jupyter-ext:show-monitors';
  export const openMonitor = 'jupyter-ext:open-monitor';
  export const pauseMonitor = 'jupyter-ext:pause-monitor';
  export const resumeMonitor = 'jupyter-ext:resume-monitor';
  export const deleteMonitor = 'jupyter-ext:delete-monitor';
  export const copyMonitorCode = 'jupyter-ext:copy-monitor-code';
  export const refreshMonitors = 'jupyter-ext:refresh-monitors';
}

/** The domain of our translations. */
export const TRANSLATION_DOMAIN = 'jupyter_ext';

/** The jobs of this server, for other panels. */
export const IJobs = new Token<JobsModel>('@jupyter-ext/lab:IJobs', 'The list of jobs, kept true by server events.');

/** The server's events, for all panels: one socket. */
export const IServerEvents = new Token<ServerEvents>('@jupyter-ext/lab:IServerEvents', "The server's events.");
