import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { isFinal } from '../api/jobs';
import { asServerError } from '../api/request';
import { jobsIcon } from '../icons';
import { CommandIDs } from '../tokens';
import { wholeLog } from './log';
import type { JobsModel } from './model';
import type { JobsPanel } from './panel';

const JOB_ARGS = {
  type: 'object',
  properties: {
    job_id: { type: 'string', description: 'The id of the job; without it, the job that the panel shows.' }
  }
} as const;
const NO_ARGS = { type: 'object', properties: {} } as const;

/** Add what can be done about jobs to the application's commands. */
export function addCommands(
  app: JupyterFrontEnd,
  model: JobsModel,
  panel: () => JobsPanel,
  trans: TranslationBundle
): void {
  const { commands, shell } = app;
  const target = (args: ReadonlyPartialJSONObject): string | null =>
    typeof args['job_id'] === 'string' ? args['job_id'] : panel().target;
  const changed = (): void => {
    [CommandIDs.openJob, CommandIDs.cancelJob, CommandIDs.copyJobId, CommandIDs.saveJobLog].forEach(id =>
      commands.notifyCommandChanged(id)
    );
  };
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

  commands.addCommand(CommandIDs.cancelJob, {
    label: trans.__('Cancel Job…'),
    caption: trans.__('Stop a job, after a question'),
    describedBy: { args: JOB_ARGS },
    isEnabled: args => {
      const id = target(args);
      const job = id ? model.job(id) : undefined;
      return id !== null && (!job || !isFinal(job.state));
    },
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

  commands.addCommand(CommandIDs.refreshJobs, {
    label: trans.__('Refresh Jobs'),
    icon: refreshIcon,
    describedBy: { args: NO_ARGS },
    execute: () => model.refresh()
  });
}

/** Wait for an act of the user's; a refusal is shown, and null returned. */
async function told<T>(act: Promise<T>): Promise<T | null> {
  try {
    return await act;
  } catch (error) {
    Notification.error(asServerError(error).message);
    return null;
  }
}

function download(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
