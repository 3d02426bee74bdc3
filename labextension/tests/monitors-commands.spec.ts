import { Clipboard, Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { screen } from '@testing-library/react';
import { beforeEach, expect, it, vi } from 'vitest';
import type { Monitor, MonitorEvent } from '../src/api/monitors';
import { ServerError } from '../src/api/request';
import { addMonitorCommands } from '../src/monitors/commands';
import { MonitorsModel } from '../src/monitors/model';
import { MonitorCommandIDs } from '../src/tokens';
import { FakeEvents } from './fakes';
import { FakeMonitors, monitor } from './fakes-monitors';

const ID = 'monitor-0001';
let commands: CommandRegistry;
let server: FakeMonitors;
const did: string[] = [];

async function make(change: Partial<Monitor> = {}, target: string | null = ID): Promise<void> {
  did.length = 0;
  commands = new CommandRegistry();
  server = new FakeMonitors(monitor(1, change));
  const model = new MonitorsModel(server, new FakeEvents<MonitorEvent>());
  await model.start();
  const app = { commands, shell: { activateById: (id: string) => did.push(`show ${id}`) } };
  const panel = {
    id: 'panel',
    target,
    open: (id: string) => void did.push(`open ${id}`),
    refresh: async () => void did.push('refresh')
  };
  addMonitorCommands(app, model, () => panel, nullTranslator.load(''));
}

const enabled = () => Object.values(MonitorCommandIDs).filter(id => commands.isEnabled(id));
// jsdom does not open dialogs, so that their buttons have no role.
const click = async (name: string) => (await screen.findByText(name)).click();

beforeEach(() => {
  // Lumino's message loop draws dialogs, so nothing here runs inside `act`.
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', false);
  return () => vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
});

const ALWAYS = [MonitorCommandIDs.showMonitors, MonitorCommandIDs.refreshMonitors];
const OF_ANY = [MonitorCommandIDs.openMonitor, MonitorCommandIDs.deleteMonitor, MonitorCommandIDs.copyMonitorCode];

it.each<[string, Partial<Monitor>, string | null, string[]]>([
  ['one that judges', { enabled: true }, ID, [...ALWAYS, ...OF_ANY, MonitorCommandIDs.pauseMonitor]],
  ['one that is paused', { enabled: false }, ID, [...ALWAYS, ...OF_ANY, MonitorCommandIDs.resumeMonitor]],
  ['none', {}, null, ALWAYS]
])('offers for %s only what can be done', async (_, change, target, expected) => {
  await make(change, target);
  expect(enabled().sort()).toEqual([...expected].sort());
});

it('shows, opens and refreshes', async () => {
  await make();
  await commands.execute(MonitorCommandIDs.showMonitors);
  await commands.execute(MonitorCommandIDs.openMonitor, { monitor_id: 'monitor-0007' });
  await commands.execute(MonitorCommandIDs.refreshMonitors);
  expect(did).toEqual(['show panel', 'open monitor-0007', 'show panel', 'refresh']);
});

it('pauses and resumes', async () => {
  await make();
  await commands.execute(MonitorCommandIDs.pauseMonitor, { monitor_id: ID });
  await commands.execute(MonitorCommandIDs.resumeMonitor);
  expect(server.calls.slice(1)).toEqual([`pause ${ID}`, `resume ${ID}`]);
});

it('deletes after a question only', async () => {
  await make();
  const kept = commands.execute(MonitorCommandIDs.deleteMonitor);
  expect(await screen.findByText('Delete “daily 1”?')).toBeTruthy();
  await click('Keep it');
  await kept;
  expect(server.count('delete')).toBe(0);
  const deleted = commands.execute(MonitorCommandIDs.deleteMonitor);
  await click('Delete monitor');
  await deleted;
  expect(server.count('delete')).toBe(1);
});

it('copies a line of Python that opens the monitor', async () => {
  await make({ name: 'people daily' });
  const copied = vi.spyOn(Clipboard, 'copyToSystem').mockReturnValue();
  const told = vi.spyOn(Notification, 'info').mockReturnValue('');
  await commands.execute(MonitorCommandIDs.copyMonitorCode);
  expect(copied).toHaveBeenCalledExactlyOnceWith('workspace.monitors.get("people daily")');
  copied.mockRestore();
  told.mockRestore();
});

it('shows why the server refused', async () => {
  await make();
  const told = vi.spyOn(Notification, 'error').mockReturnValue('');
  server.failure = new ServerError('You may not change monitors.', 403, 'forbidden');
  await commands.execute(MonitorCommandIDs.pauseMonitor);
  expect(told).toHaveBeenCalledExactlyOnceWith('You may not change monitors.', { autoClose: 10_000 });
  told.mockRestore();
});
