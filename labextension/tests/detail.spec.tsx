import { act, fireEvent, render, screen } from '@testing-library/react';
import * as React from 'react';
import { beforeEach, expect, it, vi } from 'vitest';
import type { Job } from '../src/api/jobs';
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

async function show(change: Partial<Job> = {}, id = ID): Promise<void> {
  server = new FakeServer(job(1, { state: 'running', name: 'forest', message: 'Training.', ...change }));
  server.logs.set(ID, 'epoch 1\n');
  server.set(ID, { log_size: 8 });
  server.checkpointsOf.set(ID, [{ step: 4, attempt: 1, size_bytes: 2_500_000, created_at: '2026-01-01T00:00:00Z' }]);
  events = new FakeEvents();
  model = new DetailModel(id, new JobsModel(server, events));
  render(
    <Detail
      model={model}
      onBack={() => did.push('back')}
      onCancel={() => did.push('cancel')}
      onCopyId={() => did.push('copy')}
      onSaveLog={() => did.push('save')}
    />
  );
  await settle();
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
