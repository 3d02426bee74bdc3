import { Signal } from '@lumino/signaling';
import type { Cluster, ClustersApi } from '../src/api/clusters';
import type { IEventStream } from '../src/api/events';
import type { Attempt, Checkpoint, Job, JobDetail, JobQuery, JobsApi, JobState, Transition } from '../src/api/jobs';
import { isFinal } from '../src/api/jobs';
import { ServerError } from '../src/api/request';
import type { JobEvent } from '../src/jobs/order';

/** A job, the `index`-th oldest. */
export function job(index: number, change: Partial<Job> = {}): Job {
  return {
    id: `job-${String(index).padStart(4, '0')}`,
    name: `train ${index}`,
    owner: 'ann',
    kind: 'python',
    state: 'queued',
    attempt: 1,
    position: null,
    message: '',
    reason: null,
    parameters: {},
    priority: 0,
    after: [],
    parent_id: null,
    resources: { cpus: 1, gpus: 0, memory_bytes: null },
    retries: 0,
    progress: null,
    log_size: 0,
    created_at: new Date(Date.UTC(2026, 0, 1, 0, index)).toISOString(),
    started_at: null,
    ended_at: null,
    ...change
  };
}

/** The event that the server emits about a job as it is now. */
export function event(of: Job, what: JobEvent['what'], change: Partial<JobEvent> = {}): JobEvent {
  const { id, name, owner, state, attempt, message, progress, log_size } = of;
  return { job_id: id, name, owner, what, state, attempt, message, progress, log_size, ...change };
}

/** An event stream that a test opens, closes and fills. */
export class FakeEvents<T = JobEvent> implements IEventStream<T> {
  connected = true;
  readonly connectedChanged = new Signal<this, boolean>(this);
  readonly received = new Signal<this, T>(this);

  setConnected(connected: boolean): void {
    this.connected = connected;
    this.connectedChanged.emit(connected);
  }
}

/** A server in memory with the paging, filtering and refusals of the real one. */
export class FakeServer implements JobsApi {
  readonly jobs = new Map<string, Job>();
  readonly logs = new Map<string, string>();
  readonly checkpointsOf = new Map<string, Checkpoint[]>();
  readonly transitionsOf = new Map<string, Transition[]>();
  readonly attemptsOf = new Map<string, Attempt[]>();
  readonly calls: string[] = [];
  failure: ServerError | null = null;

  constructor(...jobs: Job[]) {
    jobs.forEach(item => this.jobs.set(item.id, item));
  }

  set(id: string, change: Partial<Job>): Job {
    const changed = { ...this._find(id), ...change };
    this.jobs.set(id, changed);
    return changed;
  }

  async list({ limit, cursor, state, parent }: JobQuery) {
    this._called(parent ? `list ${parent}` : 'list');
    const matching = [...this.jobs.values()]
      .filter(item => item.parent_id === (parent ?? null))
      .filter(item => !state || (state === 'live' ? !isFinal(item.state) : item.state === state))
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .filter(item => !cursor || item.id < cursor);
    const items = matching.slice(0, limit);
    return { items, next_cursor: matching.length > limit ? items.at(-1)!.id : null };
  }

  async get(id: string): Promise<JobDetail> {
    this._called(`get ${id}`);
    const children: Partial<Record<JobState, number>> = {};
    [...this.jobs.values()]
      .filter(item => item.parent_id === id)
      .forEach(({ state }) => (children[state] = (children[state] ?? 0) + 1));
    return { ...this._find(id), source: 'print("hello")', attempts: this.attemptsOf.get(id) ?? [], children };
  }

  async cancel(id: string): Promise<Job> {
    this._called(`cancel ${id}`);
    return this.set(id, { state: 'cancelled' });
  }

  async pause(id: string): Promise<Job> {
    this._called(`pause ${id}`);
    return this.set(id, { state: 'paused', message: 'Paused.', reason: 'paused' });
  }

  async resume(id: string): Promise<Job> {
    this._called(`resume ${id}`);
    return this.set(id, { state: 'queued', message: 'Waiting to go on.', reason: null });
  }

  async notebook(id: string): Promise<object> {
    this._called(`notebook ${id}`);
    return { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };
  }

  async usage() {
    this._called('usage');
    return { since: new Date(Date.now() - 30 * 86_400_000).toISOString(), cpu_seconds: 5_400, gpu_seconds: 0 };
  }

  async transitions(id: string) {
    this._called(`transitions ${id}`);
    return { items: this.transitionsOf.get(id) ?? [], next_cursor: null };
  }

  async checkpoints(id: string) {
    this._called(`checkpoints ${id}`);
    return { items: this.checkpointsOf.get(id) ?? [], next_cursor: null };
  }

  async log(id: string, offset: number, limit: number) {
    this._called(`log ${id}`);
    const written = new TextEncoder().encode(this.logs.get(id) ?? '');
    const piece = written.slice(offset, offset + limit);
    const next_offset = offset + piece.length;
    const complete = isFinal(this._find(id).state) && next_offset === written.length;
    return { offset, next_offset, text: new TextDecoder().decode(piece), complete };
  }

  count(prefix: string): number {
    return this.calls.filter(call => call.startsWith(prefix)).length;
  }

  private _called(call: string): void {
    this.calls.push(call);
    if (this.failure) {
      throw this.failure;
    }
  }

  private _find(id: string): Job {
    const found = this.jobs.get(id);
    if (!found) {
      throw new ServerError(`There is no job '${id}'.`, 404, 'not_found');
    }
    return found;
  }
}

/** A cluster that has not been started. */
export function cluster(change: Partial<Cluster> = {}): Cluster {
  return {
    name: 'default',
    state: 'stopped',
    message: 'Not started yet; the first job starts it.',
    nodes: [],
    kinds: [],
    wanted: [],
    ...change
  };
}

/** The clusters of a server in memory. */
export class FakeClusters implements ClustersApi {
  readonly clusters = new Map<string, Cluster>();
  readonly calls: string[] = [];
  failure: ServerError | null = null;

  constructor(...clusters: Cluster[]) {
    clusters.forEach(item => this.clusters.set(item.name, item));
  }

  set(name: string, change: Partial<Cluster>): Cluster {
    const changed = { ...this.clusters.get(name)!, ...change };
    this.clusters.set(name, changed);
    return changed;
  }

  async list() {
    this._called('list');
    return { items: [...this.clusters.values()], next_cursor: null };
  }

  async get(name: string): Promise<Cluster> {
    this._called(`get ${name}`);
    return this.clusters.get(name) ?? cluster({ name });
  }

  async start(name: string): Promise<Cluster> {
    this._called(`start ${name}`);
    return this.set(name, { state: 'starting', message: 'Starting.' });
  }

  async stop(name: string): Promise<Cluster> {
    this._called(`stop ${name}`);
    return this.set(name, { state: 'stopped', message: 'Stopped.', nodes: [] });
  }

  async resize(name: string, limits: Readonly<Record<string, number>>): Promise<Cluster> {
    this._called(`resize ${name} ${JSON.stringify(limits)}`);
    const { kinds } = this.clusters.get(name)!;
    return this.set(name, {
      kinds: kinds.map(kind => ({ ...kind, max_nodes: limits[kind.name] ?? kind.max_nodes }))
    });
  }

  private _called(call: string): void {
    this.calls.push(call);
    if (this.failure) {
      throw this.failure;
    }
  }
}
