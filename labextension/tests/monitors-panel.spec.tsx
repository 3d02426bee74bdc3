import { nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import { fireEvent, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { MonitorEvent } from '../src/api/monitors';
import { MonitorsModel } from '../src/monitors/model';
import { MonitorsPanel } from '../src/monitors/panel';
import { FakeEvents } from './fakes';
import { FakeMonitors, judged, monitor } from './fakes-monitors';

let server: FakeMonitors;
let events: FakeEvents<MonitorEvent>;
let model: MonitorsModel;
let panel: MonitorsPanel;
const asked: string[] = [];
// Lumino's message loop draws the panel, so nothing here runs inside `act`.
const settle = () => vi.advanceTimersByTimeAsync(500);
const focused = () => (document.activeElement as HTMLElement).dataset['rowId'];

beforeEach(async () => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', false);
  vi.useFakeTimers();
  asked.length = 0;
  server = new FakeMonitors(monitor(1), monitor(2), monitor(3));
  events = new FakeEvents<MonitorEvent>();
  model = new MonitorsModel(server, events);
  const did = (what: string) => (id: string) => void asked.push(`${what} ${id}`);
  panel = new MonitorsPanel(
    model,
    { pause: did('pause'), resume: did('resume'), delete: did('delete'), copyCode: did('copy') },
    nullTranslator
  );
  Widget.attach(panel, document.body);
  await model.start();
  await settle();
});

afterEach(() => {
  panel.dispose();
  model.dispose();
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
});

it('opens a monitor by Enter, comes back by Escape, and finds the focus where it was', async () => {
  screen.getAllByRole('option')[1]!.focus();
  fireEvent.keyDown(document.activeElement!, { key: 'Enter' });
  await settle();
  expect(document.activeElement).toBe(screen.getByRole('heading', { name: 'daily 2' }));
  expect(panel.target).toBe('monitor-0002');
  fireEvent.click(screen.getByRole('button', { name: 'Pause the monitor' }));
  expect(asked).toEqual(['pause monitor-0002']);
  fireEvent.keyDown(document.activeElement!, { key: 'Escape' });
  await settle();
  expect(focused()).toBe('monitor-0002');
});

it('is a region, and takes the focus to its current row when activated', async () => {
  expect(screen.getByRole('region', { name: 'Monitors' })).toBe(panel.node);
  panel.activate();
  await settle();
  expect(focused()).toBe('monitor-0003');
});

it('says on its tab how many alarms fire, and keeps what else is written there', async () => {
  panel.title.dataset = { id: panel.id };
  events.received.emit(judged(server.set('monitor-0001', { firing: 2, pending: 1 })));
  await settle();
  expect(panel.title.caption).toBe('Monitors: 2 firing, 1 pending');
  expect(panel.title.dataset).toEqual({ id: panel.id, 'jpx-count': '2' });
  events.received.emit(judged(server.set('monitor-0001', { firing: 0, pending: 0 })));
  await settle();
  expect(panel.title.caption).toBe('Monitors');
  expect(panel.title.dataset['jpx-count']).toBe('');
});

it('announces politely what changed', async () => {
  events.received.emit(judged(monitor(1)));
  await settle();
  expect(screen.getByRole('status').textContent).toBe('');
  events.received.emit(judged(server.set('monitor-0001', { firing: 1 })));
  await settle();
  expect(screen.getByRole('status').textContent).toBe('daily 1: 1 firing');
});

it('asks anew when it is shown: what is made or deleted elsewhere is told by no event', async () => {
  const before = server.count('list');
  panel.hide();
  server.monitors.delete('monitor-0003');
  panel.show();
  await settle();
  expect(server.count('list')).toBe(before + 1);
  expect(screen.getAllByRole('option')).toHaveLength(2);
});

it('goes back to the list when the open monitor is deleted', async () => {
  panel.open('monitor-0002');
  await settle();
  await model.delete('monitor-0002');
  await settle();
  expect(screen.getByRole('status').textContent).toBe('daily 2 was deleted.');
  expect(screen.getAllByRole('option')).toHaveLength(2);
  expect(focused()).toBe('monitor-0003');
});

it('shows why a monitor cannot be opened', async () => {
  panel.open('monitor-0009');
  await settle();
  expect(screen.getByRole('alert').textContent).toContain("There is no monitor 'monitor-0009'.");
});
