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

describe('the queue', () => {
  it('tells its places anew when a job leaves it, in one request for many', async () => {
    make(job(1, { position: 1 }), job(2, { position: 2 }), job(3, { position: 3 }));
    await model.start();
    const admitted = server.set('job-0001', { state: 'admitted', position: null });
    server.set('job-0002', { position: 1 });
    server.set('job-0003', { position: 2 });
    events.received.emit(event(admitted, 'state'));
    events.received.emit(event(server.set('job-0001', { state: 'starting' }), 'state'));
    await settle(2_000);
    expect(model.state.jobs.map(item => item.position)).toEqual([2, 1, null]);
    expect(server.count('list')).toBe(2);
    await settle(60_000);
    expect(server.count('list')).toBe(2);
  });

  it('says at once why a job waits, and asks nothing for it', async () => {
    make(job(1, { position: 1 }));
    await model.start();
    const waiting = server.set('job-0001', { message: 'Waiting for GPU: 1 of 1 in use, 1 asked for.' });
    events.received.emit(event(waiting, 'state'));
    await settle(2_000);
    expect(model.state.jobs[0]?.message).toBe('Waiting for GPU: 1 of 1 in use, 1 asked for.');
    expect(server.calls).toEqual(['list']);
  });
});

describe('a sweep', () => {
  const child = (index: number, change: Partial<Job> = {}) => job(index, { parent_id: 'job-0001', ...change });
  const sweep = job(1, { kind: 'sweep', state: 'running', attempt: 0, message: '0 of 60 jobs done.' });
  const sixty = Array.from({ length: 60 }, (_, index) => child(100 + index));
  const family = () => model.state.families.get('job-0001');

  it('is one job of the list until it is opened, and then loads its children page by page', async () => {
    make(sweep, ...sixty);
    await model.start();
    expect(ids(model)).toEqual(['job-0001']);
    model.setOpen('job-0001', true);
    await settle();
    expect(family()?.jobs).toHaveLength(50);
    expect(model.job('job-0159')?.parent_id).toBe('job-0001');
    await model.family('job-0001')?.loadMore();
    await settle();
    expect(family()?.jobs).toHaveLength(60);
    model.setOpen('job-0001', false);
    expect(family()).toBeUndefined();
    expect(model.job('job-0159')).toBeUndefined();
    expect(ids(model)).toEqual(['job-0001']);
  });

  it('keeps its open children true by events, and announces none of them', async () => {
    make(sweep, ...sixty);
    await model.start();
    model.setOpen('job-0001', true);
    await settle();
    const calls = server.calls.length;
    events.received.emit(event(server.set('job-0159', { state: 'failed', message: 'ValueError: no.' }), 'state'));
    events.received.emit(event(server.set('job-0100', { state: 'succeeded' }), 'state'));
    await settle();
    expect(family()?.jobs[0]).toMatchObject({ state: 'failed', message: 'ValueError: no.' });
    // One that is not loaded yet is asked for once, because it might be a new job.
    expect(server.calls.slice(calls).sort()).toEqual(['get job-0100', 'get job-0159']);
    expect(moves).toEqual([]);
  });

  it('that is closed costs one question a child at most', async () => {
    make(sweep, ...sixty);
    await model.start();
    for (const state of ['admitted', 'starting', 'running', 'succeeded'] as const) {
      events.received.emit(event(server.set('job-0100', { state }), 'state'));
      await settle();
    }
    expect(server.calls).toEqual(['list', 'get job-0100']);
    for (const state of ['admitted', 'starting', 'running', 'succeeded'] as const) {
      sixty.slice(1).forEach(({ id }) => events.received.emit(event(server.set(id, { state }), 'state')));
      await settle();
    }
    expect(server.calls.slice(2)).toEqual(['list']);
    expect(ids(model)).toEqual(['job-0001']);
  });

  it('tells its count with its own events', async () => {
    make(sweep);
    await model.start();
    const message = '1 of 60 jobs done.';
    const progress = { step: 1, total: 60, metrics: {} };
    events.received.emit(event(server.set('job-0001', { message, progress }), 'progress'));
    await settle();
    expect(model.state.jobs[0]).toMatchObject({ message, progress });
    expect(server.calls).toEqual(['list']);
  });

  it('lets a child be cancelled in its place', async () => {
    make(sweep, ...sixty);
    await model.start();
    model.setOpen('job-0001', true);
    await settle();
    await model.cancel('job-0120');
    await settle();
    expect(model.job('job-0120')?.state).toBe('cancelled');
    expect(ids(model)).toEqual(['job-0001']);
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

it('pauses and resumes at once, also against answers and events that come late', async () => {
  make(job(1, { state: 'running' }));
  await model.start();
  const late = event(server.jobs.get('job-0001')!, 'progress');
  await model.pause('job-0001');
  events.received.emit(late);
  await settle();
  expect(model.state.jobs[0]).toMatchObject({ state: 'paused', message: 'Paused.' });
  const paused = event(server.jobs.get('job-0001')!, 'state');
  await model.resume('job-0001');
  await settle();
  expect(model.state.jobs[0]?.state).toBe('queued');
  // The outbox tells of the pause only now, and of what followed right after.
  events.received.emit(paused);
  events.received.emit(event(server.jobs.get('job-0001')!, 'state'));
  await settle();
  expect(model.state.jobs[0]?.state).toBe('queued');
});

it('believes an answer that was asked for after all that was heard', async () => {
  make(job(1, { kind: 'sweep', state: 'paused', attempt: 0 }));
  await model.start();
  events.setConnected(false);
  server.set('job-0001', { state: 'running' });
  events.setConnected(true);
  await settle();
  expect(model.state.jobs[0]?.state).toBe('running');
});
