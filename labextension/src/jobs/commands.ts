import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { DEFAULT_CLUSTER } from '../api/clusters';
import { isFinal, type Job } from '../api/jobs';
import type { ClustersModel } from '../clusters/model';
import { told } from '../common/told';
import { jobsIcon } from '../icons';
import { CommandIDs } from '../tokens';
import { wholeLog } from './log';
import type { JobsModel } from './model';
import { notebookPath } from './notebooks';
import type { JobsPanel } from './panel';

const JOB_ARGS = {
  type: 'object',
  properties: {
    job_id: { type: 'string', description: 'The id of the job; without it, the job that the panel shows.' }
  }
} as const;
const CLUSTER_ARGS = {
  type: 'object',
  properties: {
    name: { type: 'string', description: 'The name of the cluster; without it, the one that jobs run on.' }
  }
} as const;
const NO_ARGS = { type: 'object', properties: {} } as const;

/** What the commands need of the application. */
interface IApplication {
  readonly commands: JupyterFrontEnd['commands'];
  readonly shell: { activateById(id: string): void };
}

/** Add what can be done about jobs to the application's commands. */
export function addJobCommands(
  { commands, shell }: IApplication,
  model: JobsModel,
  panel: () => Pick<JobsPanel, 'id' | 'target' | 'open'>,
  trans: TranslationBundle
): void {
  const target = (args: ReadonlyPartialJSONObject): string | null =>
    typeof args['job_id'] === 'string' ? args['job_id'] : panel().target;
  /** Whether there is a target, and what is known of it allows this. */
  const allows = (args: ReadonlyPartialJSONObject, test: (job: Job) => boolean): boolean => {
    const id = target(args);
    const job = id ? model.job(id) : undefined;
    return id !== null && (!job || test(job));
  };
  const changed = (): void => Object.values(CommandIDs).forEach(id => commands.notifyCommandChanged(id));
  model.changed.connect(changed);

  commands.addCommand(CommandIDs.showJobs, {
    label: trans.__('Show Jobs'),
    caption: trans.__('Show the jobs of this server'),
    icon: jobsIcon,
    describedBy: { args: NO_ARGS },
    execute: () => shell.activateById(panel().id)
  });

  commands.addCommand(CommandIDs.openJob, {
    label: trans.__('Open Job'),
    caption: trans.__('Show the log, the progress and the history of a job'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => target(args) !== null,
    execute: args => {
      const id = target(args);
      if (id) {
        panel().open(id);
        shell.activateById(panel().id);
      }
    }
  });

  commands.addCommand(CommandIDs.pauseJob, {
    label: trans.__('Pause Job'),
    caption: trans.__('Stop a job until it is resumed; it goes on from its last checkpoint then'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => allows(args, ({ state }) => !isFinal(state) && state !== 'paused' && state !== 'cancelling'),
    execute: async args => {
      const id = target(args);
      await (id && told(model.pause(id)));
    }
  });

  commands.addCommand(CommandIDs.resumeJob, {
    label: trans.__('Resume Job'),
    caption: trans.__('Let a paused job go on'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => allows(args, ({ state }) => state === 'paused'),
    execute: async args => {
      const id = target(args);
      await (id && told(model.resume(id)));
    }
  });

  commands.addCommand(CommandIDs.cancelJob, {
    label: trans.__('Cancel Job…'),
    caption: trans.__('Stop a job, after a question'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => allows(args, job => !isFinal(job.state)),
    execute: async args => {
      const id = target(args);
      if (!id) {
        return;
      }
      const name = model.job(id)?.name ?? id;
      const { button } = await showDialog({
        title: trans.__('Cancel “%1”?', name),
        body: trans.__('The job is stopped. Its log and its checkpoints stay.'),
        buttons: [
          Dialog.cancelButton({ label: trans.__('Keep running') }),
          Dialog.warnButton({ label: trans.__('Cancel job') })
        ],
        defaultButton: 0
      });
      if (button.accept) {
        await told(model.cancel(id));
      }
    }
  });

  commands.addCommand(CommandIDs.copyJobId, {
    label: trans.__('Copy Job Id'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => target(args) !== null,
    execute: args => {
      const id = target(args);
      if (id) {
        Clipboard.copyToSystem(id);
        Notification.info(trans.__('Copied %1', id), { autoClose: 2_000 });
      }
    }
  });

  commands.addCommand(CommandIDs.saveJobLog, {
    label: trans.__('Save Job Log'),
    caption: trans.__('Save the whole log of a job to a file'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => target(args) !== null,
    execute: async args => {
      const id = target(args);
      const text = id ? await told(wholeLog(model.api, id)) : null;
      if (id && text !== null) {
        download(`${id}.log`, text);
      }
    }
  });

  commands.addCommand(CommandIDs.openJobNotebook, {
    label: trans.__('Open Executed Notebook of Job'),
    caption: trans.__('Show the notebook that a job ran, with its outputs; to read only'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => allows(args, ({ kind, started_at }) => kind === 'notebook' && started_at !== null),
    execute: async args => {
      const id = target(args);
      if (id) {
        const path = notebookPath(id, model.job(id)?.name ?? id);
        // It was run already: no kernel is started for it.
        const kernelPreference = { shouldStart: false, canStart: false, autoStartDefault: false };
        await told(commands.execute('docmanager:open', { path, factory: 'Notebook', kernelPreference }));
      }
    }
  });

  commands.addCommand(CommandIDs.refreshJobs, {
    label: trans.__('Refresh Jobs'),
    icon: refreshIcon,
    describedBy: { args: NO_ARGS },
    execute: () => model.refresh()
  });
}

/** Add what can be done about clusters to the application's commands. */
export function addClusterCommands(
  { commands }: Pick<IApplication, 'commands'>,
  model: ClustersModel,
  trans: TranslationBundle
): void {
  const target = (args: ReadonlyPartialJSONObject): string =>
    typeof args['name'] === 'string' ? args['name'] : DEFAULT_CLUSTER;

  commands.addCommand(CommandIDs.startCluster, {
    label: trans.__('Start Cluster'),
    caption: trans.__('Start a Ray cluster, unless it runs'),
    describedBy: { args: CLUSTER_ARGS },
    execute: async args => {
      await told(model.startCluster(target(args)));
    }
  });

  commands.addCommand(CommandIDs.stopCluster, {
    label: trans.__('Stop Cluster'),
    caption: trans.__('Stop a Ray cluster and everything that runs in it, after a question when jobs run'),
    describedBy: { args: CLUSTER_ARGS },
    execute: async args => {
      const name = target(args);
      const running = name === DEFAULT_CLUSTER ? await told(model.countRunningJobs()) : 0;
      if (running === null || (running > 0 && !(await confirmStop(running, trans)))) {
        return;
      }
      await told(model.stopCluster(name));
    }
  });
}

async function confirmStop(running: number, trans: TranslationBundle): Promise<boolean> {
  const { button } = await showDialog({
    title: trans._n('Stop the cluster while %1 job runs?', 'Stop the cluster while %1 jobs run?', running),
    body: trans.__(
      'What runs is interrupted. Then the cluster is started anew, and jobs go on from their last checkpoints: pause or cancel them first to keep it stopped.'
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Keep running') }),
      Dialog.warnButton({ label: trans.__('Stop cluster') })
    ],
    defaultButton: 0
  });
  return button.accept;
}

function download(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
