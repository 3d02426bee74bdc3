import { nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { fireEvent, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ClustersModel } from '../src/clusters/model';
import { JobsModel } from '../src/jobs/model';
import { JobsPanel } from '../src/jobs/panel';
import { cluster, event, FakeClusters, FakeEvents, FakeServer, job } from './fakes';

let server: FakeServer;
let events: FakeEvents;
let panel: JobsPanel;
const asked: string[] = [];
// Lumino's message loop draws the panel, so nothing here runs inside `act`.
const settle = () => vi.advanceTimersByTimeAsync(500);
const focused = () => (document.activeElement as HTMLElement).dataset['rowId'];

beforeEach(async () => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', false);
  vi.useFakeTimers();
  asked.length = 0;
  server = new FakeServer(job(1), job(2, { state: 'running' }), job(3));
  events = new FakeEvents();
  const model = new JobsModel(server, events);
  const did = (what: string) => (id: string) => void asked.push(`${what} ${id}`);
  const clusters = new ClustersModel(new FakeClusters(cluster()), model, new FakeEvents());
  panel = new JobsPanel(
    model,
    clusters,
    {
      cancel: did('cancel'),
      pause: did('pause'),
      resume: did('resume'),
      copyId: did('copy'),
      saveLog: did('save'),
      openNotebook: did('notebook'),
      startCluster: did('start'),
      stopCluster: did('stop'),
      resizeCluster: did('resize')
    },
    nullTranslator
  );
  Widget.attach(panel, document.body);
  await Promise.all([model.start(), clusters.start()]);
  await settle();
});

afterEach(() => {
  panel.dispose();
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
});

it('opens a job by Enter, comes back by Escape, and finds the focus where it was', async () => {
  screen.getAllByRole('treeitem')[1]!.focus();
  fireEvent.keyDown(document.activeElement!, { key: 'Enter' });
  await settle();
  expect(document.activeElement).toBe(screen.getByRole('heading', { name: 'train 2' }));
  expect(panel.target).toBe('job-0002');
  fireEvent.keyDown(document.activeElement!, { key: 'Escape' });
  await settle();
  expect(focused()).toBe('job-0002');
});

it('is a region, and takes the focus to its current row when activated', async () => {
  expect(screen.getByRole('region', { name: 'Jobs' })).toBe(panel.node);
  panel.activate();
  await settle();
  expect(focused()).toBe('job-0003');
});

it('announces moves of jobs politely, and not each step on the way', async () => {
  events.received.emit(event(server.set('job-0003', { state: 'admitted' }), 'state'));
  await settle();
  expect(screen.getByRole('status').textContent).toBe('');
  events.received.emit(event(server.set('job-0002', { state: 'failed' }), 'state'));
  await settle();
  const status = screen.getByRole('status');
  expect(status.getAttribute('aria-live')).toBe('polite');
  expect(status.textContent).toBe('train 2: Failed');
});

it('knows which job a command is about', async () => {
  expect(panel.target).toBeNull();
  fireEvent.contextMenu(screen.getAllByRole('treeitem')[2]!);
  expect(panel.target).toBe('job-0001');
  panel.open('job-0003');
  await settle();
  fireEvent.click(screen.getByRole('button', { name: 'Copy the id of the job' }));
  expect(asked).toEqual(['copy job-0003']);
});
