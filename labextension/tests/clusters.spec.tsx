import { act, fireEvent, render, screen } from '@testing-library/react';
import * as React from 'react';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Cluster, ClusterEvent } from '../src/api/clusters';
import { ServerError } from '../src/api/request';
import { ClustersModel } from '../src/clusters/model';
import { Clusters } from '../src/clusters/view';
import { JobsModel } from '../src/jobs/model';
import { cluster, event, FakeClusters, FakeEvents, FakeServer, job } from './fakes';

const running = cluster({
  state: 'running',
  message: 'Running.',
  nodes: [{ id: 'head', kind: 'head', state: 'running', total: { CPU: 2 }, used: { CPU: 1 }, message: '' }],
  kinds: [{ name: 'gpu', resources: { GPU: 1 }, min_nodes: 0, max_nodes: 2 }]
});

let server: FakeClusters;
let jobs: FakeServer;
let events: FakeEvents<ClusterEvent>;
let jobEvents: FakeEvents;
let model: ClustersModel;
let did: string[];

const settle = (milliseconds = 1_500) => act(() => vi.advanceTimersByTimeAsync(milliseconds));
const emit = (change: Partial<ClusterEvent>) =>
  act(() => events.received.emit({ name: 'default', owner: 'ann', state: 'running', message: 'Running.', ...change }));
const summary = () => screen.getByText('Cluster').closest('summary')!;

async function make(...clusters: Cluster[]): Promise<void> {
  server = new FakeClusters(...clusters);
  jobs = new FakeServer(job(1, { state: 'running' }), job(2), job(3, { state: 'paused' }));
  events = new FakeEvents();
  jobEvents = new FakeEvents();
  model = new ClustersModel(server, new JobsModel(jobs, jobEvents), events);
  await model.start();
}

async function show(...clusters: Cluster[]): Promise<void> {
  await make(...clusters);
  model.setOpen(true);
  await settle();
  did = [];
  render(
    <Clusters
      model={model}
      onStart={name => did.push(`start ${name}`)}
      onStop={name => did.push(`stop ${name}`)}
      onResize={(name, kind, limit) => did.push(`resize ${name} ${kind} ${limit}`)}
    />
  );
}

beforeEach(() => {
  vi.useFakeTimers();
});

describe('the model', () => {
  it('has the cluster that everybody has, also before its first start, and others that live', async () => {
    await make(cluster({ name: 'old' }), { ...running, name: 'big' });
    expect(model.state.clusters.map(({ name }) => name)).toEqual(['default', 'big']);
    expect(server.calls).toEqual(['list', 'get default']);
  });

  it('moves by events at once, and asks for the nodes only while they are looked at', async () => {
    await make(running);
    emit({ state: 'stopping', message: 'Stopping.' });
    expect(model.state.clusters[0]).toMatchObject({ state: 'stopping', message: 'Stopping.', nodes: [] });
    await settle();
    expect(server.calls).toEqual(['list']);
    model.setOpen(true);
    await settle();
    emit({ message: 'Starting 2 gpu workers for the queue.' });
    emit({ message: 'Running.' });
    await settle();
    expect(server.calls).toEqual(['list', 'list', 'list']);
  });

  it('asks anew for what jobs hold when they begin and end, and for the usage when they end', async () => {
    await make(running);
    const say = (state: 'running' | 'succeeded') => jobEvents.received.emit(event(job(1, { state }), 'state'));
    say('running');
    await settle();
    expect(jobs.count('usage')).toBe(1);
    say('succeeded');
    await settle();
    expect(jobs.count('usage')).toBe(2);
    expect(server.calls).toEqual(['list']);
    model.setOpen(true);
    say('running');
    await settle();
    expect(server.calls).toEqual(['list', 'list', 'list']);
    // Once more, when Ray knows it too; and then no more.
    await settle(600_000);
    expect(server.calls).toEqual(['list', 'list', 'list', 'list']);
  });

  it('polls only while no events arrive', async () => {
    await make(running);
    await settle(600_000);
    expect(server.calls).toHaveLength(1);
    act(() => events.setConnected(false));
    await settle(31_000);
    expect(server.calls.length).toBeGreaterThan(3);
    act(() => events.setConnected(true));
    await settle();
    const calls = server.calls.length;
    await settle(600_000);
    expect(server.calls).toHaveLength(calls);
  });

  it('hands on a refusal, and is no longer busy after it', async () => {
    await make(running);
    server.failure = new ServerError('There may be at most 2 gpu workers.', 400, 'invalid');
    await expect(model.resizeCluster('default', 'gpu', 9)).rejects.toThrow('at most 2');
    expect(model.state.busy.size).toBe(0);
  });

  it('keeps what it shows when it cannot be asked', async () => {
    await make(running);
    server.failure = new ServerError('The database does not answer.', 503, 'unavailable');
    await model.refresh();
    expect(model.state).toMatchObject({ clusters: [{ state: 'running' }], error: { status: 503 } });
    server.failure = null;
    await model.refresh();
    expect(model.state.error).toBeNull();
  });

  it('counts the jobs that hold a place', async () => {
    await make(running);
    expect(await model.countRunningJobs()).toBe(1);
  });
});

describe('the section', () => {
  it('says its state although it is closed, and what was used', async () => {
    await make(running);
    render(<Clusters model={model} onStart={vi.fn()} onStop={vi.fn()} onResize={vi.fn()} />);
    expect(screen.getByRole('region', { name: 'Clusters' })).toBeTruthy();
    expect(summary().textContent).toBe('ClusterRunning');
    expect(summary().querySelector('svg')).not.toBeNull();
    const usage = screen.getByText('Last 30 days:').parentElement;
    expect(usage?.textContent.trim()).toBe('Last 30 days: 1.5 CPU-hours, 0 GPU-hours');
  });

  it('shows nodes with what is used of them, what it is asked to have room for, and what is being done about it', async () => {
    const starting = {
      id: 'w1',
      kind: 'gpu',
      state: 'starting',
      total: {},
      used: {},
      message: 'No room yet.'
    } as const;
    const message = 'Starting 1 gpu worker for the queue. No room yet.';
    await show({ ...running, message, nodes: [...running.nodes, starting], wanted: [{ GPU: 1 }, { GPU: 1 }] });
    const nodes = screen.getAllByRole('listitem').map(item => item.textContent);
    expect(nodes).toEqual(['headRunning1 of 2 CPU', 'gpuStartingNo room yet.']);
    expect(screen.getByText(message)).toBeTruthy();
    expect(screen.getByText('Asked to have room for: 2 × 1 GPU')).toBeTruthy();
  });

  it('starts what is stopped, and stops what runs, not twice', async () => {
    await show(cluster());
    fireEvent.click(screen.getByRole('button', { name: 'Start the cluster' }));
    emit({});
    const stop = screen.getByRole<HTMLButtonElement>('button', { name: 'Stop the cluster' });
    fireEvent.click(stop);
    expect(did).toEqual(['start default', 'stop default']);
    act(() => void model.stopCluster('default'));
    expect(stop.disabled).toBe(true);
    await settle();
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Start the cluster' }).disabled).toBe(false);
  });

  it('resizes each kind of worker, and takes no words for numbers', async () => {
    await show(running);
    const field = screen.getByRole<HTMLInputElement>('spinbutton', { name: 'gpu workers, at most' });
    const set = screen.getByRole<HTMLButtonElement>('button', { name: 'Set' });
    expect([field.value, set.disabled]).toEqual(['2', true]);
    fireEvent.change(field, { target: { value: '' } });
    expect(set.disabled).toBe(true);
    fireEvent.change(field, { target: { value: '1' } });
    fireEvent.submit(field.form!);
    expect(did).toEqual(['resize default gpu 1']);
    await act(() => model.resizeCluster('default', 'gpu', 0));
    expect(field.value).toBe('0');
  });

  it('tells other clusters by their names', async () => {
    await show(running, { ...running, name: 'big', state: 'unreachable', nodes: [] });
    expect(screen.getByRole('heading', { name: 'big Unreachable' })).toBeTruthy();
  });

  it('is silent where nothing can be had, because that is said above', async () => {
    server = new FakeClusters();
    server.failure = new ServerError('Not Found', 404, 'error');
    jobs = new FakeServer();
    model = new ClustersModel(server, new JobsModel(jobs, new FakeEvents()), new FakeEvents());
    await model.start();
    const { container } = render(<Clusters model={model} onStart={vi.fn()} onStop={vi.fn()} onResize={vi.fn()} />);
    expect(container.textContent).toBe('');
  });
});
