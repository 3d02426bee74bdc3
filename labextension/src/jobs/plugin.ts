import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { type ClusterEvent, clustersApi } from '../api/clusters';
import type { ServerEvents } from '../api/events';
import { isFinal, jobsApi } from '../api/jobs';
import { ClustersModel } from '../clusters/model';
import { told } from '../common/told';
import { CommandIDs, IJobs, IServerEvents, TRANSLATION_DOMAIN } from '../tokens';
import { addClusterCommands, addJobCommands } from './commands';
import { JobsModel, type StateChange } from './model';
import { JobNotebooks } from './notebooks';
import type { JobEvent } from './order';
import { JobsPanel } from './panel';

const PLUGIN_ID = '@jupyter-ext/lab:jobs';
/** Among the side panels: after those of JupyterLab itself. */
const RANK = 550;

/** The Jobs side panel. */
export const jobsPlugin: JupyterFrontEndPlugin<JobsModel> = {
  id: PLUGIN_ID,
  description: 'A side panel with the jobs of this server: their progress, logs, checkpoints and history.',
  autoStart: true,
  provides: IJobs,
  requires: [IServerEvents],
  optional: [ITranslator, ICommandPalette, ILayoutRestorer, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    events: ServerEvents,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    settings: ISettingRegistry | null
  ): JobsModel => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);
    const { serverSettings } = app.serviceManager;
    const model = new JobsModel(jobsApi(serverSettings), events.stream<JobEvent>('job'));
    const clusters = new ClustersModel(clustersApi(serverSettings), model, events.stream<ClusterEvent>('cluster'));
    const run = (command: string, job_id: string): void => void app.commands.execute(command, { job_id });
    const panel = new JobsPanel(
      model,
      clusters,
      {
        cancel: id => run(CommandIDs.cancelJob, id),
        pause: id => run(CommandIDs.pauseJob, id),
        resume: id => run(CommandIDs.resumeJob, id),
        copyId: id => run(CommandIDs.copyJobId, id),
        saveLog: id => run(CommandIDs.saveJobLog, id),
        openNotebook: id => run(CommandIDs.openJobNotebook, id),
        startCluster: name => void app.commands.execute(CommandIDs.startCluster, { name }),
        stopCluster: name => void app.commands.execute(CommandIDs.stopCluster, { name }),
        resizeCluster: (name, kind, limit) => void told(clusters.resizeCluster(name, kind, limit))
      },
      translator ?? nullTranslator
    );
    app.serviceManager.contents.addDrive(new JobNotebooks(model.api, serverSettings));
    addJobCommands(app, model, () => panel, trans);
    addClusterCommands(app, clusters, trans);
    Object.values(CommandIDs).forEach(command => palette?.addItem({ command, category: trans.__('Jobs') }));
    app.shell.add(panel, 'left', { rank: RANK, type: 'Jobs' });
    restorer?.add(panel, panel.id);

    let notify = true;
    void settings?.load(PLUGIN_ID).then(loaded => {
      const read = (): void => {
        notify = loaded.get('notifyWhenJobEnds').composite !== false;
      };
      loaded.changed.connect(read);
      read();
    });
    model.jobMoved.connect((_, change) => {
      if (notify && isFinal(change.job.state)) {
        tellEnd(change, () => run(CommandIDs.openJob, change.job.id), trans);
      }
    });
    void app.restored.then(() => Promise.all([model.start(), clusters.start()]));
    return model;
  }
};

function tellEnd({ job }: StateChange, open: () => void, trans: TranslationBundle): void {
  const options = {
    autoClose: job.state === 'failed' ? (false as const) : 5_000,
    actions: [{ label: trans.__('Open'), callback: open }]
  };
  if (job.state === 'succeeded') {
    Notification.success(trans.__('Job “%1” succeeded.', job.name), options);
  } else if (job.state === 'failed') {
    Notification.error(trans.__('Job “%1” failed. %2', job.name, job.message), options);
  } else {
    Notification.info(trans.__('Job “%1” was cancelled.', job.name), options);
  }
}
