import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Job } from '../src/api/jobs';
import { ServerError } from '../src/api/request';
import { JobsModel, type StateChange } from '../src/jobs/model';
import { event, FakeEvents, FakeServer, job } from './fakes';

const many = (count: number, change = {}) => Array.from({ length: count }, (_, index) => job(index, change));
const ids = (model: JobsModel) => model.state.jobs.map(item => item.id);

let server: FakeServer;
let events: FakeEvents;
let model: JobsModel;
let moves: string[];

function make(...jobs: Job[]): void {
  server = new FakeServer(...jobs);
  events = new FakeEvents();
  model = new JobsModel(server, events);
  moves = [];
  model.jobMoved.connect((_, { job: moved, before }: StateChange) => moves.push(`${before}>${moved.state}`));
}

beforeEach(() => {
  vi.useFakeTimers();
});

/** Let timers and promises run. */
const settle = (milliseconds = 200) => vi.advanceTimersByTimeAsync(milliseconds);

describe('the list', () => {
  it('shows the newest first and reads older pages by the cursor', async () => {
    make(...many(120));
    await model.start();
    expect(model.state).toMatchObject({ loading: false, hasMore: true, error: null });
    expect(ids(model)).toHaveLength(50);
    expect(ids(model)[0]).toBe('job-0119');
    await model.loadMore();
    await model.loadMore();
    expect(ids(model)).toHaveLength(120);
    expect(model.state.hasMore).toBe(false);
    const calls = server.calls.length;
    await model.loadMore();
    expect(server.calls).toHaveLength(calls);
  });

  it('filters by state, here and on the server', async () => {
    make(job(1, { state: 'running' }), job(2, { state: 'failed' }), job(3));
    await model.start();
    await model.setFilter('live', '');
    expect(ids(model)).toEqual(['job-0003', 'job-0001']);
    await model.setFilter('finished', '');
    expect(ids(model)).toEqual(['job-0002']);
  });

  it('reads on until a search has found something', async () => {
    make(...many(700));
    server.set('job-0003', { name: 'Needle' });
    await model.start();
    await model.setFilter('all', 'needle');
    expect(ids(model)).toEqual(['job-0003']);
  });

  it('takes only the newest answer when filters change quickly', async () => {
    make(job(1, { state: 'running' }), job(2, { state: 'failed' }));
    await model.start();
    await Promise.all([model.setFilter('live', ''), model.setFilter('finished', '')]);
    expect(ids(model)).toEqual(['job-0002']);
    expect(model.state.loading).toBe(false);
  });

  it('keeps what it shows when a request fails, and says why until one succeeds', async () => {
    make(job(1));
    await model.start();
    server.failure = new ServerError('The database does not answer.', 503, 'unavailable');
    await model.refresh();
    expect(ids(model)).toEqual(['job-0001']);
    expect(model.state.error?.message).toBe('The database does not answer.');
    server.failure = null;
    await model.refresh();
    expect(model.state.error).toBeNull();
  });
});

describe('events', () => {
  it('move a job at once, and bring its times from the server', async () => {
    make(job(1));
    await model.start();
    const now = server.set('job-0001', { state: 'running', started_at: '2026-01-01T00:02:00Z' });
    events.received.emit(event(now, 'state'));
    await settle();
    expect(model.state.jobs[0]).toMatchObject({ state: 'running', started_at: '2026-01-01T00:02:00Z' });
    expect(moves).toEqual(['queued>running']);
    expect(server.count('list')).toBe(1);
  });

  it('twice or out of order change nothing more', async () => {
    make(job(1));
    await model.start();
    const running = event(server.set('job-0001', { state: 'running' }), 'state');
    const done = event(server.set('job-0001', { state: 'succeeded' }), 'state');
    [running, running, done, running, done].forEach(item => events.received.emit(item));
    await settle();
    expect(moves).toEqual(['queued>running', 'running>succeeded']);
    expect(model.state.jobs[0]?.state).toBe('succeeded');
  });

  it('bring a job that was not there', async () => {
    make(job(1));
    await model.start();
    const fresh = job(2, { name: 'fresh' });
    server.jobs.set(fresh.id, fresh);
    events.received.emit(event(fresh, 'state'));
    await settle();
    expect(ids(model)).toEqual(['job-0002', 'job-0001']);
  });

  it('about somebody else’s job bring nothing and no error', async () => {
    make(job(1));
    await model.start();
    events.received.emit(event(job(2, { owner: 'bob' }), 'state'));
    await settle();
    expect(ids(model)).toEqual(['job-0001']);
    expect(model.state.error).toBeNull();
  });

  it('of progress ask the server nothing', async () => {
    make(job(1, { state: 'running' }));
    await model.start();
    const calls = server.calls.length;
    for (let step = 1; step <= 100; step++) {
      events.received.emit(
        event(model.job('job-0001')!, 'progress', { progress: { step, total: 100, metrics: { loss: 1 / step } } })
      );
    }
    await settle();
    expect(model.state.jobs[0]?.progress?.step).toBe(100);
    expect(server.calls).toHaveLength(calls);
  });

  it('in a burst are published together, and many touched jobs are asked for in one list', async () => {
    make(...many(40));
    await model.start();
    let published = 0;
    model.changed.connect(() => (published += 1));
    [...server.jobs.keys()].forEach(id => events.received.emit(event(server.set(id, { state: 'admitted' }), 'state')));
    await settle();
    expect(published).toBeLessThan(5);
    expect(server.count('get')).toBe(0);
    expect(server.count('list')).toBe(2);
    expect(new Set(model.state.jobs.map(item => item.state))).toEqual(new Set(['admitted']));
  });

  it('take a job that ended out of the live ones', async () => {
    make(job(1, { state: 'running' }));
    await model.start();
    await model.setFilter('live', '');
    events.received.emit(event(server.set('job-0001', { state: 'failed' }), 'state'));
    await settle();
    expect(ids(model)).toEqual([]);
    expect(moves).toEqual(['running>failed']);
  });
});

describe('the connection', () => {
  it('never polls while events arrive', async () => {
    make(job(1));
    await model.start();
    await settle(600_000);
    expect(server.calls).toEqual(['list']);
  });

  it('polls while it is lost, asks for all anew when it is back, and is quiet again', async () => {
    make(job(1, { state: 'running' }));
    await model.start();
    events.setConnected(false);
    await settle(21_000);
    const polled = server.count('list');
    expect(polled).toBeGreaterThanOrEqual(4);
    server.set('job-0001', { state: 'succeeded' });
    events.setConnected(true);
    await settle();
    expect(moves).toEqual(['running>succeeded']);
    const back = server.count('list');
    expect(back).toBe(polled + 1);
    await settle(600_000);
    expect(server.count('list')).toBe(back);
  });

  it('backs off while the server is away', async () => {
    make(job(1));
    server.failure = new ServerError('Failed to fetch', 0, 'unreachable');
    events.connected = false;
    await model.start();
    await settle(600_000);
    // A steady poll would ask 120 times; the waits grow by chance, up to a minute each.
    expect(server.count('list')).toBeLessThan(60);
    expect(model.state.error?.status).toBe(0);
  });

  it('does nothing more once disposed', async () => {
    make(job(1));
    await model.start();
    model.dispose();
    events.setConnected(false);
    events.received.emit(event(job(2), 'state'));
    await settle(60_000);
    expect(server.calls).toEqual(['list']);
  });
});

it('shows a cancelled job at once, and hands on a refusal', async () => {
  make(job(1, { state: 'running' }));
  await model.start();
  await model.cancel('job-0001');
  await settle();
  expect(model.state.jobs[0]?.state).toBe('cancelled');
  await expect(model.cancel('job-0009')).rejects.toThrow("There is no job 'job-0009'.");
});
