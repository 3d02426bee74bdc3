import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Monitor } from '../api/monitors';
import { told } from '../common/told';
import { monitorsIcon } from '../icons';
import { MonitorCommandIDs as IDs } from '../tokens';
import { codeOf } from './format';
import type { MonitorsModel } from './model';
import type { MonitorsPanel } from './panel';

const MONITOR_ARGS = {
  type: 'object',
  properties: {
    monitor_id: { type: 'string', description: 'The id of the monitor; without it, the one that the panel shows.' }
  }
} as const;
const NO_ARGS = { type: 'object', properties: {} } as const;

/** What the commands need of the application. */
interface IApplication {
  readonly commands: JupyterFrontEnd['commands'];
  readonly shell: { activateById(id: string): void };
}

/** Add what can be done about monitors to the application's commands. */
export function addMonitorCommands(
  { commands, shell }: IApplication,
  model: MonitorsModel,
  panel: () => Pick<MonitorsPanel, 'id' | 'target' | 'open' | 'refresh'>,
  trans: TranslationBundle
): void {
  const target = (args: ReadonlyPartialJSONObject): string | null =>
    typeof args['monitor_id'] === 'string' ? args['monitor_id'] : panel().target;
  /** The monitor that a command is about, where it is known. */
  const known = (args: ReadonlyPartialJSONObject): Monitor | undefined => model.monitor(target(args) ?? '');
  model.changed.connect(() => Object.values(IDs).forEach(id => commands.notifyCommandChanged(id)));

  commands.addCommand(IDs.showMonitors, {
    label: trans.__('Show Monitors'),
    caption: trans.__('Show the monitors of this server and their alarms'),
    icon: monitorsIcon,
    describedBy: { args: NO_ARGS },
    execute: () => shell.activateById(panel().id)
  });

  commands.addCommand(IDs.openMonitor, {
    label: trans.__('Open Monitor'),
    caption: trans.__('Show the alarms, the windows and the settings of a monitor'),
    describedBy: { args: MONITOR_ARGS },
    isEnabled: args => target(args) !== null,
    execute: args => {
      const id = target(args);
      if (id) {
        panel().open(id);
        shell.activateById(panel().id);
      }
    }
  });

  commands.addCommand(IDs.pauseMonitor, {
    label: trans.__('Pause Monitor'),
    caption: trans.__('Judge no window until the monitor is resumed'),
    describedBy: { args: MONITOR_ARGS },
    isEnabled: args => known(args)?.enabled === true,
    execute: async args => {
      const id = target(args);
      await (id && told(model.pause(id)));
    }
  });

  commands.addCommand(IDs.resumeMonitor, {
    label: trans.__('Resume Monitor'),
    caption: trans.__('Let a paused monitor go on judging'),
    describedBy: { args: MONITOR_ARGS },
    isEnabled: args => known(args)?.enabled === false,
    execute: async args => {
      const id = target(args);
      await (id && told(model.resume(id)));
    }
  });

  commands.addCommand(IDs.deleteMonitor, {
    label: trans.__('Delete Monitor…'),
    caption: trans.__('Delete a monitor with its history, after a question'),
    describedBy: { args: MONITOR_ARGS },
    isEnabled: args => known(args) !== undefined,
    execute: async args => {
      const monitor = known(args);
      if (!monitor) {
        return;
      }
      const { button } = await showDialog({
        title: trans.__('Delete “%1”?', monitor.name),
        body: trans.__(
          'Its windows, its alarms and the log of its messages are deleted with it. Schedules of jobs that measure for it go on until they are deleted.'
        ),
        buttons: [
          Dialog.cancelButton({ label: trans.__('Keep it') }),
          Dialog.warnButton({ label: trans.__('Delete monitor') })
        ],
        defaultButton: 0
      });
      if (button.accept) {
        await told(model.delete(monitor.id));
      }
    }
  });

  commands.addCommand(IDs.copyMonitorCode, {
    label: trans.__('Copy Python That Opens Monitor'),
    caption: trans.__('Copy a line for a notebook'),
    describedBy: { args: MONITOR_ARGS },
    isEnabled: args => known(args) !== undefined,
    execute: args => {
      const monitor = known(args);
      if (monitor) {
        const code = codeOf(monitor.name);
        Clipboard.copyToSystem(code);
        Notification.info(trans.__('Copied %1', code), { autoClose: 2_000 });
      }
    }
  });

  commands.addCommand(IDs.refreshMonitors, {
    label: trans.__('Refresh Monitors'),
    icon: refreshIcon,
    describedBy: { args: NO_ARGS },
    execute: () => panel().refresh()
  });
}
