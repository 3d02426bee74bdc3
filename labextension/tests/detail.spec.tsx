import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Attempt, Job } from '../src/api/jobs';
import { Detail } from '../src/jobs/components/detail';
import { DetailModel } from '../src/jobs/detail';
import { JobsModel } from '../src/jobs/model';
import type { JobEvent } from '../src/jobs/order';
import { event, FakeEvents, FakeServer, job } from './fakes';

const ID = 'job-0001';
let server: FakeServer;
let events: FakeEvents;
let model: DetailModel;
const did: string[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  did.length = 0;
});

const emit = (what: JobEvent['what']) => act(() => events.received.emit(event(server.jobs.get(ID)!, what)));
const settle = (milliseconds = 300) => act(() => vi.advanceTimersByTimeAsync(milliseconds));

async function show(change: Partial<Job> = {}, id = ID, ...others: Job[]): Promise<void> {
  server = new FakeServer(job(1, { state: 'running', name: 'forest', message: 'Training.', ...change }), ...others);
  server.logs.set(ID, 'epoch 1\n');
  server.set(ID, { log_size: 8 });
  server.checkpointsOf.set(ID, [{ step: 4, attempt: 1, size_bytes: 2_500_000, created_at: '2026-01-01T00:00:00Z' }]);
  events = new FakeEvents();
  model = new DetailModel(id, new JobsModel(server, events));
  draw();
  await settle();
}

function draw(): void {
  render(
    <Detail
      model={model}
      onBack={() => did.push('back')}
      onOpen={id => did.push(`open ${id}`)}
      onPause={() => did.push('pause')}
      onResume={() => did.push('resume')}
      onOpenNotebook={() => did.push('notebook')}
      onCancel={() => did.push('cancel')}
      onCopyId={() => did.push('copy')}
      onSaveLog={() => did.push('save')}
    />
  );
}

it('takes the focus to its heading, and Escape goes back from anywhere', async () => {
  await show();
  const heading = screen.getByRole('heading', { name: 'forest' });
  expect(document.activeElement).toBe(heading);
  fireEvent.keyDown(screen.getByRole('log'), { key: 'Escape' });
  fireEvent.click(screen.getByRole('button', { name: 'Back to the list of jobs' }));
  expect(did).toEqual(['back', 'back']);
});

it('shows message, log, checkpoints and source', async () => {
  await show();
  expect(screen.getByText('Training.')).toBeTruthy();
  expect(screen.getByRole('log', { name: 'Log' }).textContent).toBe('epoch 1\n');
  expect(screen.getByRole('cell', { name: '2.5 MB', hidden: true })).toBeTruthy();
  expect(screen.getByLabelText('Source of the job').textContent).toBe('print("hello")');
});

it('appends to the log, moves the progress and shows metrics as events come', async () => {
  await show();
  server.logs.set(ID, 'epoch 1\nepoch 2\n');
  server.set(ID, { log_size: 16, progress: { step: 2, total: 8, metrics: { accuracy: 0.91234 } } });
  emit('log');
  await settle();
  expect(screen.getByRole('log').textContent).toBe('epoch 1\nepoch 2\n');
  expect(screen.getByRole('progressbar').getAttribute('aria-valuenow')).toBe('25');
  expect(screen.getByText('0.9123')).toBeTruthy();
});

it('asks for checkpoints and times again when events tell of new ones', async () => {
  await show();
  server.checkpointsOf.get(ID)!.unshift({ step: 9, attempt: 1, size_bytes: 1, created_at: '2026-01-01T00:01:00Z' });
  emit('checkpoint');
  await settle();
  expect(screen.getByRole('cell', { name: '9', hidden: true })).toBeTruthy();
});

it('asks nothing more of the server while nothing happens and events arrive', async () => {
  await show();
  const calls = server.calls.length;
  await settle(120_000);
  expect(server.calls).toHaveLength(calls);
});

it('polls a live job while events do not arrive', async () => {
  await show();
  act(() => events.setConnected(false));
  server.set(ID, { state: 'succeeded', message: 'Done.' });
  await settle(6_000);
  expect(screen.getByText('Done.')).toBeTruthy();
  const calls = server.count('get');
  await settle(60_000);
  expect(server.count('get')).toBe(calls);
});

it('offers to cancel what is live only', async () => {
  await show();
  fireEvent.click(screen.getByRole('button', { name: 'Cancel the job…' }));
  expect(did).toEqual(['cancel']);
  server.set(ID, { state: 'cancelled' });
  emit('state');
  await settle();
  const cancel = screen.getByRole('button', { name: 'Cancel the job…' });
  expect(cancel.getAttribute('aria-disabled')).toBe('true');
  fireEvent.click(cancel);
  expect(did).toEqual(['cancel']);
});

it('pauses what is live and resumes what is paused, by one button that keeps the focus', async () => {
  await show();
  const button = screen.getByRole('button', { name: 'Pause the job' });
  act(() => button.focus());
  fireEvent.click(button);
  server.set(ID, { state: 'cancelling', reason: 'paused', message: 'Pausing: its processes are asked to stop.' });
  emit('state');
  await settle();
  expect(button.getAttribute('aria-disabled')).toBe('true');
  expect(screen.getByText('Pausing')).toBeTruthy();
  expect(screen.getByRole('button', { name: 'Cancel the job…' }).getAttribute('aria-disabled')).toBe('false');
  server.set(ID, { state: 'paused', message: 'Paused; it goes on from step 4 when resumed.' });
  emit('state');
  await settle();
  expect(document.activeElement).toBe(button);
  expect(button.getAttribute('aria-label')).toBe('Resume the job');
  fireEvent.click(button);
  expect(did).toEqual(['pause', 'resume']);
});

it('says place and reason of what waits, its priority, its parameters, and what it comes after', async () => {
  await show({
    state: 'queued',
    attempt: 0,
    position: 2,
    priority: 5,
    message: 'Waiting for “prepare” to succeed.',
    parameters: { lr: 0.1 },
    after: ['job-0002', 'job-0003'],
    parent_id: 'job-0004'
  });
  server.jobs.set('job-0002', job(2, { name: 'prepare', state: 'running' }));
  expect(screen.getByText('2nd in the queue · Waiting for “prepare” to succeed.')).toBeTruthy();
  expect(screen.getByText('Priority').nextSibling?.textContent).toBe('5');
  expect(screen.getByText('lr').nextSibling?.textContent).toBe('0.1');
  // What cannot be had is told by its id.
  fireEvent.click(screen.getByRole('button', { name: 'job-0003' }));
  fireEvent.click(screen.getByRole('button', { name: 'job-0004' }));
  expect(did).toEqual(['open job-0003', 'open job-0004']);
});

it('follows the jobs that this one comes after', async () => {
  const prepare = job(2, { name: 'prepare', state: 'running' });
  await show({ after: [prepare.id] }, ID, prepare);
  const link = screen.getByRole('button', { name: 'prepare' });
  expect(link.parentElement?.textContent).toBe('prepareRunning');
  act(() => events.received.emit(event(prepare, 'state', { state: 'succeeded' })));
  expect(link.parentElement?.textContent).toBe('prepareSucceeded');
});

it('tells each attempt in plain words, the newest first', async () => {
  await show();
  const attempt: Attempt = {
    number: 1,
    state: 'interrupted',
    started_at: '2026-01-01T00:00:00Z',
    ended_at: '2026-01-01T00:01:30Z',
    resumed_step: null,
    durable_step: 1200,
    cpu_seconds: 180,
    gpu_seconds: 0,
    peak_memory_bytes: 2_000_000,
    reason: 'attempt_lost',
    message: 'Its process was lost.'
  };
  const message = 'Attempt 2 resumed at step 1200; 14 steps redone.';
  server.attemptsOf.set(ID, [
    attempt,
    { ...attempt, number: 2, state: 'running', ended_at: null, resumed_step: 1200, cpu_seconds: 0, message }
  ]);
  emit('checkpoint');
  await settle();
  const [second, first] = within(screen.getByText('Attempts').closest('details')!).getAllByRole('listitem', {
    hidden: true
  });
  expect(second?.textContent).toContain(message);
  expect(first?.textContent).toContain('It began from nothing.Its process was lost.');
  expect(first?.textContent).toContain('1 min 30 s · 180 CPU-seconds · at most 2 MB of memory');
});

it('counts the children of a sweep by their states, and shows neither log nor attempts', async () => {
  const children = [2, 3, 4].map(index => job(index, { parent_id: ID, state: 'running' }));
  await show({ kind: 'sweep', attempt: 0 }, ID, ...children);
  const section = screen.getByText('Jobs of the sweep').closest('details')!;
  expect(within(section).getByRole('listitem').textContent).toBe('Running3');
  expect(screen.queryByRole('log')).toBeNull();
  expect(screen.queryByText('Attempts')).toBeNull();
  server.set('job-0002', { state: 'failed' });
  act(() => events.received.emit(event(server.jobs.get('job-0002')!, 'state')));
  await settle(2_000);
  const counts = within(section).getAllByRole('listitem');
  expect(counts.map(item => item.textContent)).toEqual(['Failed1', 'Running2']);
});

it('opens the executed notebook of a notebook job only, once it has begun', async () => {
  await show({ kind: 'notebook' });
  const button = screen.getByRole<HTMLButtonElement>('button', { name: 'Open the executed notebook' });
  expect(button.disabled).toBe(true);
  server.set(ID, { started_at: '2026-01-01T00:00:00Z' });
  emit('state');
  await settle();
  fireEvent.click(button);
  expect(did).toEqual(['notebook']);
});

describe('finding in the log', () => {
  const field = () => screen.getByRole('textbox', { name: 'Find in the log' });
  const marks = () => [...screen.getByRole('log').querySelectorAll('mark')];
  const at = () => marks().findIndex(mark => mark.getAttribute('aria-current'));
  const said = () => within(screen.getByRole('search')).getByRole('status').textContent;

  async function find(text: string): Promise<void> {
    await show();
    server.logs.set(ID, 'epoch 1\nEpoch 2\nEPOCH 3\n');
    server.set(ID, { log_size: 24 });
    emit('log');
    await settle();
    fireEvent.keyDown(screen.getByRole('log'), { key: 'f', ctrlKey: true });
    fireEvent.change(field(), { target: { value: text } });
    await settle();
  }

  it('begins by Ctrl F, marks all matches, and goes from the newest one to others by Enter', async () => {
    await find('epoch');
    expect(document.activeElement).toBe(field());
    expect(marks().map(mark => mark.textContent)).toEqual(['epoch', 'Epoch', 'EPOCH']);
    expect([at(), said()]).toEqual([2, '3 of 3']);
    fireEvent.keyDown(field(), { key: 'Enter' });
    expect([at(), said()]).toEqual([0, '1 of 3']);
    fireEvent.keyDown(field(), { key: 'Enter', shiftKey: true });
    fireEvent.click(screen.getByRole('button', { name: 'Previous match (Shift Enter)' }));
    expect([at(), said()]).toEqual([1, '2 of 3']);
    expect(screen.getByRole('log').textContent).toBe('epoch 1\nEpoch 2\nEPOCH 3\n');
  });

  it('stays at its match when the log grows, and says no more than was asked', async () => {
    await find('epoch 1');
    server.logs.set(ID, 'epoch 1\nEpoch 2\nEPOCH 3\nepoch 10\n');
    server.set(ID, { log_size: 33 });
    emit('log');
    await settle();
    expect(marks()).toHaveLength(2);
    expect(said()).toBe('1 of 1');
    expect(screen.getByRole<HTMLInputElement>('checkbox', { name: 'Follow' }).checked).toBe(false);
  });

  it('says when nothing matches', async () => {
    await find('nothing');
    expect(marks()).toEqual([]);
    expect(said()).toBe('No match');
  });

  it('ends by Escape, which leads back to the log and not to the list', async () => {
    await find('epoch');
    fireEvent.keyDown(field(), { key: 'Escape' });
    await settle();
    expect(document.activeElement).toBe(screen.getByRole('log'));
    expect(marks()).toEqual([]);
    expect(did).toEqual([]);
  });

  it('says what is not loaded, and loads it on demand', async () => {
    await show();
    const line = `${'x'.repeat(99)}\n`;
    server.logs.set(ID, `needle\n${line.repeat(7_000)}`);
    server.set(ID, { log_size: 700_007 });
    model.dispose();
    cleanup();
    model = new DetailModel(ID, new JobsModel(server, events));
    draw();
    await settle();
    fireEvent.click(screen.getByRole('button', { name: 'Find in the log (Ctrl F)' }));
    fireEvent.change(field(), { target: { value: 'needle' } });
    await settle();
    expect(screen.getByText(/^Not loaded and not searched: the first 200 kB\./)).toBeTruthy();
    expect(said()).toBe('No match');
    fireEvent.click(screen.getByRole('button', { name: 'Load earlier lines' }));
    await settle();
    expect(marks()).toHaveLength(1);
    expect(screen.queryByText(/^Not loaded/)).toBeNull();
  });
});

it('follows the end of the log until the reader scrolls up', async () => {
  await show();
  const log = screen.getByRole('log');
  const follow = screen.getByRole<HTMLInputElement>('checkbox', { name: 'Follow' });
  Object.defineProperties(log, { scrollHeight: { value: 1000 }, clientHeight: { value: 200 } });
  const scroll = (top: number) => {
    log.scrollTop = top;
    fireEvent.scroll(log);
  };
  scroll(800);
  expect(follow.checked).toBe(true);
  scroll(300);
  expect(follow.checked).toBe(false);
  emit('log');
  await settle();
  expect(log.scrollTop).toBe(300);
  fireEvent.click(follow);
  expect(log.scrollTop).toBe(1000);
});

it('says what is wrong with a job that is not there', async () => {
  await show({}, 'job-9999');
  expect(screen.getByRole('alert').textContent).toContain("There is no job 'job-9999'.");
});
