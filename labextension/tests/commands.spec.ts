import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { screen } from '@testing-library/react';
import { beforeEach, expect, it, vi } from 'vitest';
import type { Job } from '../src/api/jobs';
import { ServerError } from '../src/api/request';
import { ClustersModel } from '../src/clusters/model';
import { addClusterCommands, addJobCommands } from '../src/jobs/commands';
import { JobsModel } from '../src/jobs/model';
import { CommandIDs } from '../src/tokens';
import { cluster, FakeClusters, FakeEvents, FakeServer, job } from './fakes';

const ID = 'job-0001';
let commands: CommandRegistry;
let server: FakeServer;
let clusters: FakeClusters;

async function make(change: Partial<Job>): Promise<void> {
  commands = new CommandRegistry();
  server = new FakeServer(job(1, change));
  clusters = new FakeClusters(cluster({ state: 'running' }));
  const model = new JobsModel(server, new FakeEvents());
  await model.start();
  const trans = nullTranslator.load('');
  const app = { commands, shell: { activateById: () => undefined } };
  addJobCommands(app, model, () => ({ id: 'panel', target: ID, open: () => undefined }), trans);
  addClusterCommands(app, new ClustersModel(clusters, model, new FakeEvents()), trans);
}

const enabled = () =>
  [CommandIDs.pauseJob, CommandIDs.resumeJob, CommandIDs.cancelJob, CommandIDs.openJobNotebook].filter(id =>
    commands.isEnabled(id)
  );
// jsdom does not open dialogs, so that their buttons have no role.
const click = async (name: string) => (await screen.findByText(name)).click();

beforeEach(() => {
  // Lumino's message loop draws dialogs, so nothing here runs inside `act`.
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', false);
  return () => vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
});

it.each<[Partial<Job>, string[]]>([
  [{ state: 'queued' }, [CommandIDs.pauseJob, CommandIDs.cancelJob]],
  [{ state: 'running' }, [CommandIDs.pauseJob, CommandIDs.cancelJob]],
  [{ state: 'cancelling' }, [CommandIDs.cancelJob]],
  [{ state: 'paused' }, [CommandIDs.resumeJob, CommandIDs.cancelJob]],
  [{ state: 'failed' }, []],
  [{ state: 'succeeded', kind: 'notebook', started_at: '2026-01-01T00:00:00Z' }, [CommandIDs.openJobNotebook]],
  [{ state: 'queued', kind: 'notebook' }, [CommandIDs.pauseJob, CommandIDs.cancelJob]]
])('offers for %o only what can be done', async (change, expected) => {
  await make(change);
  expect(enabled()).toEqual(expected);
});

it('pauses and resumes', async () => {
  await make({ state: 'running' });
  await commands.execute(CommandIDs.pauseJob, { job_id: ID });
  await commands.execute(CommandIDs.resumeJob, { job_id: ID });
  expect(server.calls.slice(1)).toEqual([`pause ${ID}`, `resume ${ID}`]);
});

it('shows why the server refused', async () => {
  await make({ state: 'running' });
  const told = vi.spyOn(Notification, 'error').mockReturnValue('');
  server.failure = new ServerError('It is being stopped for good.', 409, 'conflict');
  await commands.execute(CommandIDs.pauseJob);
  expect(told).toHaveBeenCalledExactlyOnceWith('It is being stopped for good.', { autoClose: 10_000 });
  told.mockRestore();
});

it('opens an executed notebook without a kernel', async () => {
  await make({ kind: 'notebook', name: 'a/report', started_at: '2026-01-01T00:00:00Z' });
  const opened: unknown[] = [];
  commands.addCommand('docmanager:open', { execute: args => opened.push(args) });
  await commands.execute(CommandIDs.openJobNotebook);
  expect(opened).toMatchObject([
    { path: `jupyter-ext-jobs:${ID}/a-report.ipynb`, factory: 'Notebook', kernelPreference: { shouldStart: false } }
  ]);
});

it('asks before it stops a cluster on which jobs run, and else does not', async () => {
  await make({ state: 'running' });
  const kept = commands.execute(CommandIDs.stopCluster);
  await click('Keep running');
  await kept;
  expect(clusters.calls).toEqual([]);
  const stopped = commands.execute(CommandIDs.stopCluster);
  await click('Stop cluster');
  await stopped;
  server.set(ID, { state: 'paused' });
  await commands.execute(CommandIDs.stopCluster);
  await commands.execute(CommandIDs.startCluster, { name: 'default' });
  expect(clusters.calls).toEqual(['stop default', 'stop default', 'start default']);
});
