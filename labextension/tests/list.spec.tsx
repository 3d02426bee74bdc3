import { act, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { describe, expect, it, vi } from 'vitest';
import type { Job } from '../src/api/jobs';
import { ServerError } from '../src/api/request';
import { JobList } from '../src/jobs/components/list';
import { JobsModel } from '../src/jobs/model';
import { event, FakeEvents, FakeServer, job } from './fakes';

async function show(jobs: Job[], failure: ServerError | null = null) {
  const server = new FakeServer(...jobs);
  server.failure = failure;
  const events = new FakeEvents();
  const model = new JobsModel(server, events);
  await model.start();
  const opened: string[] = [];
  const cancelled: string[] = [];
  function Host({ takeFocus = false }): React.ReactElement {
    const [current, setCurrent] = React.useState<string | null>(null);
    return (
      <JobList
        model={model}
        current={current}
        takeFocus={takeFocus}
        onCurrent={setCurrent}
        onOpen={id => opened.push(id)}
        onCancel={id => cancelled.push(id)}
      />
    );
  }
  const view = render(<Host />);
  return { server, events, model, opened, cancelled, view };
}

const three = [job(1, { state: 'failed' }), job(2, { state: 'running' }), job(3)];
const rows = () => screen.getAllByRole('treeitem');
const focused = () => (document.activeElement as HTMLElement).dataset['rowId'];
const press = (key: string, init = {}) => fireEvent.keyDown(document.activeElement!, { key, ...init });

it('is a named tree whose items say everything in words', async () => {
  await show(three);
  expect(within(screen.getByRole('tree', { name: 'Jobs' })).getAllByRole('treeitem')).toHaveLength(3);
  expect(rows()[1]?.getAttribute('aria-label')).toMatch(/^train 2, Running, /);
  expect(rows()[1]?.textContent).toContain('Running');
  expect(rows()[1]?.querySelector('svg')).not.toBeNull();
});

it('has one tab stop, which follows the focus', async () => {
  await show(three);
  expect(rows().map(row => row.tabIndex)).toEqual([0, -1, -1]);
  act(() => rows()[0]!.focus());
  press('ArrowDown');
  expect(focused()).toBe('job-0002');
  expect(rows().map(row => row.tabIndex)).toEqual([-1, 0, -1]);
  expect(rows().map(row => row.getAttribute('aria-selected'))).toEqual(['false', 'true', 'false']);
});

it('moves by arrows, Home, End and pages, and stops at the ends', async () => {
  await show(Array.from({ length: 30 }, (_, index) => job(index)));
  act(() => rows()[0]!.focus());
  const steps: [string, string][] = [
    ['ArrowUp', 'job-0029'],
    ['ArrowDown', 'job-0028'],
    ['PageDown', 'job-0018'],
    ['PageUp', 'job-0028'],
    ['End', 'job-0000'],
    ['ArrowDown', 'job-0000'],
    ['Home', 'job-0029']
  ];
  for (const [key, expected] of steps) {
    press(key);
    expect(focused()).toBe(expected);
  }
});

it('opens by Enter, Space and click, cancels by Delete, and leaves shortcuts of others alone', async () => {
  const { opened, cancelled } = await show(three);
  act(() => rows()[1]!.focus());
  press('Enter');
  press(' ');
  fireEvent.click(rows()[0]!);
  press('Delete');
  press('Enter', { ctrlKey: true });
  expect(opened).toEqual(['job-0002', 'job-0002', 'job-0003']);
  expect(cancelled).toEqual(['job-0002']);
});

it('keeps the focus on its job when newer ones arrive', async () => {
  const { server, events } = await show(three);
  act(() => rows()[1]!.focus());
  vi.useFakeTimers();
  server.jobs.set('job-0009', job(9));
  events.received.emit(event(job(9), 'state'));
  await act(() => vi.advanceTimersByTimeAsync(200));
  expect(rows()).toHaveLength(4);
  expect(focused()).toBe('job-0002');
});

it('says how to begin where there is no job yet', async () => {
  await show([]);
  expect(screen.getByText('No jobs yet. Submit one from a notebook with %%submit_job.')).toBeTruthy();
});

it('filters by state and says which', async () => {
  await show(three);
  const live = screen.getByRole('button', { name: 'Live' });
  fireEvent.click(live);
  await act(() => Promise.resolve());
  expect(live.getAttribute('aria-pressed')).toBe('true');
  expect(rows().map(row => row.dataset['rowId'])).toEqual(['job-0003', 'job-0002']);
});

it('searches by name a moment after the last key', async () => {
  await show(three);
  vi.useFakeTimers();
  fireEvent.change(screen.getByRole('searchbox', { name: 'Search jobs by name' }), { target: { value: 'n 2' } });
  await act(() => vi.advanceTimersByTimeAsync(500));
  expect(rows().map(row => row.dataset['rowId'])).toEqual(['job-0002']);
  fireEvent.change(screen.getByRole('searchbox'), { target: { value: 'nothing' } });
  await act(() => vi.advanceTimersByTimeAsync(500));
  expect(screen.getByText('No job matches.')).toBeTruthy();
});

it('loads older jobs on demand', async () => {
  await show(Array.from({ length: 70 }, (_, index) => job(index)));
  expect(rows()).toHaveLength(50);
  fireEvent.click(screen.getByRole('button', { name: 'Load older jobs' }));
  await act(() => Promise.resolve());
  expect(rows()).toHaveLength(70);
  expect(screen.queryByRole('button', { name: 'Load older jobs' })).toBeNull();
});

it('says in one message what to do when the server extension is missing', async () => {
  const { server } = await show([], new ServerError('Not Found', 404, 'error'));
  expect(screen.getAllByRole('alert')).toHaveLength(1);
  expect(screen.getByRole('alert').textContent).toContain('jupyter server extension enable jupyter_ext');
  expect(screen.queryByText(/No jobs yet/)).toBeNull();
  server.failure = null;
  fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
  await act(() => Promise.resolve());
  expect(screen.queryByRole('alert')).toBeNull();
});

it('shows the server’s sentence above the jobs it still has', async () => {
  const { server, model } = await show(three);
  server.failure = new ServerError('The database does not answer.', 503, 'unavailable');
  await act(() => model.refresh());
  expect(screen.getByRole('alert').textContent).toContain('The database does not answer.');
  expect(rows()).toHaveLength(3);
});

it('says place, reason and priority of what waits', async () => {
  await show([job(1, { position: 2, priority: 5, message: 'Waiting for CPU: 2 of 2 in use, 1 asked for.' })]);
  expect(rows()[0]?.textContent).toContain('2nd in the queue · Waiting for CPU: 2 of 2 in use, 1 asked for.');
  expect(rows()[0]?.textContent).toContain('priority 5');
  expect(rows()[0]?.getAttribute('aria-label')).toContain('priority 5, 2nd in the queue · Waiting for CPU');
});

describe('a sweep', () => {
  const sweep = job(2, { kind: 'sweep', name: 'grid', state: 'running', message: '1 of 2 jobs done, 1 failed.' });
  const family = [
    sweep,
    job(1),
    job(3, { name: 'grid-1', parent_id: sweep.id, state: 'failed', parameters: { lr: 0.1 } }),
    job(4, { name: 'grid-2', parent_id: sweep.id, state: 'running', parameters: { lr: 0.2 } })
  ];
  const settle = () => act(() => new Promise(resolve => setTimeout(resolve, 80)));

  it('is one row that says how many are done and failed, and opens by arrow to the right', async () => {
    await show(family);
    expect(rows().map(row => row.getAttribute('aria-expanded'))).toEqual(['false', null]);
    expect(rows()[0]?.textContent).toContain('1 of 2 jobs done, 1 failed.');
    act(() => rows()[0]!.focus());
    press('ArrowRight');
    await settle();
    expect(rows().map(row => row.getAttribute('aria-level'))).toEqual(['1', '2', '2', '1']);
    expect(rows()[0]?.getAttribute('aria-expanded')).toBe('true');
    expect(rows()[1]?.textContent).toContain('lr=0.2');
    press('ArrowRight');
    expect(focused()).toBe('job-0004');
    press('ArrowLeft');
    expect(focused()).toBe('job-0002');
    press('ArrowLeft');
    await settle();
    expect(rows()).toHaveLength(2);
    expect(focused()).toBe('job-0002');
  });

  it('opens its children as any job, and itself by the mark before its name without being shown', async () => {
    const { opened, view } = await show(family);
    fireEvent.click(view.container.querySelector('.jpx-Row-twisty')!);
    await settle();
    fireEvent.click(rows()[1]!);
    expect(opened).toEqual(['job-0004']);
  });

  it('loads more of its children on demand, and says why it cannot', async () => {
    const children = Array.from({ length: 60 }, (_, index) => job(100 + index, { parent_id: sweep.id }));
    const { server } = await show([sweep, ...children]);
    act(() => rows()[0]!.focus());
    press('ArrowRight');
    await settle();
    expect(rows()).toHaveLength(52);
    server.failure = new ServerError('The database does not answer.', 503, 'unavailable');
    press('End');
    expect(document.activeElement?.textContent).toBe('Load more jobs of the sweep');
    press('Enter');
    await settle();
    expect(document.activeElement?.textContent).toBe('Not loaded: The database does not answer. Try again');
    server.failure = null;
    press('Enter');
    await settle();
    expect(document.activeElement?.textContent).toBe('Load more jobs of the sweep');
    press('Enter');
    await settle();
    expect(rows()).toHaveLength(61);
  });
});
