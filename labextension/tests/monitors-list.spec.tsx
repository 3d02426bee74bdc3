import { act, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { expect, it } from 'vitest';
import type { Monitor, MonitorEvent } from '../src/api/monitors';
import { ServerError } from '../src/api/request';
import { MonitorList } from '../src/monitors/components/list';
import { MonitorsModel } from '../src/monitors/model';
import { FakeEvents } from './fakes';
import { FakeMonitors, monitor } from './fakes-monitors';

async function show(monitors: Monitor[], failure: ServerError | null = null) {
  const server = new FakeMonitors(...monitors);
  server.failure = failure;
  const model = new MonitorsModel(server, new FakeEvents<MonitorEvent>());
  await model.start();
  const opened: string[] = [];
  const deleted: string[] = [];
  function Host({ takeFocus = false }): React.ReactElement {
    const [current, setCurrent] = React.useState<string | null>(null);
    return (
      <MonitorList
        model={model}
        current={current}
        takeFocus={takeFocus}
        onCurrent={setCurrent}
        onOpen={id => opened.push(id)}
        onDelete={id => deleted.push(id)}
      />
    );
  }
  const view = render(<Host />);
  return { server, model, opened, deleted, view };
}

const four = [monitor(1), monitor(2, { firing: 2 }), monitor(3, { enabled: false }), monitor(4, { last_end: null })];
const rows = () => screen.getAllByRole('option');
const focused = () => (document.activeElement as HTMLElement).dataset['rowId'];
const press = (key: string, init = {}) => fireEvent.keyDown(document.activeElement!, { key, ...init });

it('is a named list whose rows say everything in words', async () => {
  await show(four);
  expect(within(screen.getByRole('listbox', { name: 'Monitors' })).getAllByRole('option')).toHaveLength(4);
  expect(rows().map(row => row.getAttribute('aria-label'))).toEqual([
    expect.stringMatching(/^daily 2, 2 firing, watches churn\/3, last window /),
    'daily 4, No window yet, watches churn/3',
    expect.stringMatching(/^daily 3, Paused, /),
    expect.stringMatching(/^daily 1, Quiet, /)
  ]);
  rows().forEach(row => expect(row.querySelector('svg')).not.toBeNull());
});

it('counts alarms above', async () => {
  const { model, server } = await show(four);
  expect(screen.getByText('Alarms: 2 firing')).toBeTruthy();
  server.set('monitor-0002', { firing: 0 });
  await act(() => model.refresh());
  expect(screen.getByText('No alarms')).toBeTruthy();
});

it('has one tab stop, and the keys of the jobs', async () => {
  const { opened, deleted } = await show(four);
  expect(rows().map(row => row.tabIndex)).toEqual([0, -1, -1, -1]);
  act(() => rows()[0]!.focus());
  const steps: [string, string][] = [
    ['ArrowUp', 'monitor-0002'],
    ['ArrowDown', 'monitor-0004'],
    ['PageDown', 'monitor-0001'],
    ['Home', 'monitor-0002'],
    ['End', 'monitor-0001']
  ];
  for (const [key, expected] of steps) {
    press(key);
    expect(focused()).toBe(expected);
  }
  expect(rows().map(row => row.tabIndex)).toEqual([-1, -1, -1, 0]);
  press('Enter');
  press(' ');
  press('Delete');
  press('Enter', { ctrlKey: true });
  fireEvent.click(rows()[0]!);
  expect(opened).toEqual(['monitor-0001', 'monitor-0001', 'monitor-0002']);
  expect(deleted).toEqual(['monitor-0001']);
});

it('gives the focus to the next row when the row that has it is deleted, and to the search after the last', async () => {
  const { model } = await show([monitor(1), monitor(2), monitor(3)]);
  act(() => rows()[1]!.focus());
  await act(() => model.delete('monitor-0002'));
  expect(focused()).toBe('monitor-0001');
  await act(() => model.delete('monitor-0001'));
  expect(focused()).toBe('monitor-0003');
  await act(() => model.delete('monitor-0003'));
  expect(document.activeElement).toBe(screen.getByRole('searchbox'));
});

it('leaves the focus alone when a row goes that has it not', async () => {
  const { model } = await show([monitor(1), monitor(2)]);
  await act(() => model.delete('monitor-0002'));
  expect(document.activeElement).toBe(document.body);
});

it('searches by name, and keeps the focus in the search', async () => {
  await show(four);
  const search = screen.getByRole('searchbox', { name: 'Search monitors by name' });
  act(() => search.focus());
  fireEvent.change(search, { target: { value: '3' } });
  expect(rows().map(row => row.dataset['rowId'])).toEqual(['monitor-0003']);
  fireEvent.change(search, { target: { value: 'nothing' } });
  expect(screen.getByText('No monitor matches.')).toBeTruthy();
  fireEvent.change(search, { target: { value: '' } });
  expect(rows()).toHaveLength(4);
  expect(document.activeElement).toBe(search);
});

it('says how to make a first monitor', async () => {
  await show([]);
  expect(screen.getByText(/^No monitors yet\./)).toBeTruthy();
  expect(screen.getByLabelText('Code that makes a first monitor').textContent).toContain('workspace.monitors.create(');
});

it('says in one message what to do when the server extension is missing', async () => {
  const { server } = await show([], new ServerError('Not Found', 404, 'error'));
  expect(screen.getAllByRole('alert')).toHaveLength(1);
  expect(screen.getByRole('alert').textContent).toContain('jupyter server extension enable jupyter_ext');
  expect(screen.queryByText(/No monitors yet/)).toBeNull();
  server.failure = null;
  fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
  await act(() => Promise.resolve());
  expect(screen.queryByRole('alert')).toBeNull();
});
