import type { ServerConnection } from '@jupyterlab/services';
import { type Page, request } from './request';

/** The states of a job, as in `jupyter_ext.jobs.values.JobState`. */
export type JobState =
  | 'queued'
  | 'admitted'
  | 'starting'
  | 'running'
  | 'interrupted'
  | 'cancelling'
  | 'paused'
  | 'succeeded'
  | 'failed'
  | 'cancelled';

const FINAL: ReadonlySet<JobState> = new Set<JobState>(['succeeded', 'failed', 'cancelled']);
const PLACED: ReadonlySet<JobState> = new Set<JobState>(['admitted', 'starting', 'running', 'cancelling']);

/** Whether nothing follows this state. */
export function isFinal(state: JobState): boolean {
  return FINAL.has(state);
}

/** Whether a job of this state holds a place on its cluster. */
export function isPlaced(state: JobState): boolean {
  return PLACED.has(state);
}

/** How far an attempt is, with the numbers that the user's code reported. */
export interface Progress {
  readonly step: number;
  readonly total: number | null;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Job {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  /** A sweep runs nothing itself: it is the parent of one job for each set of parameters. */
  readonly kind: 'python' | 'shell' | 'notebook' | 'sweep';
  readonly state: JobState;
  readonly attempt: number;
  /** The place in the queue, from 1, while it waits there. */
  readonly position: number | null;
  readonly message: string;
  readonly reason: string | null;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly priority: number;
  /** The jobs that must succeed first. */
  readonly after: readonly string[];
  readonly parent_id: string | null;
  readonly resources: { readonly cpus: number; readonly gpus: number; readonly memory_bytes: number | null };
  readonly retries: number;
  readonly progress: Progress | null;
  readonly log_size: number;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
}

export interface Attempt {
  readonly number: number;
  readonly state: JobState;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly resumed_step: number | null;
  readonly durable_step: number | null;
  readonly cpu_seconds: number;
  readonly gpu_seconds: number;
  readonly peak_memory_bytes: number | null;
  readonly reason: string | null;
  readonly message: string;
}

export interface JobDetail extends Job {
  readonly source: string;
  readonly attempts: readonly Attempt[];
  /** Of a sweep, how many children are in which state. */
  readonly children: Readonly<Partial<Record<JobState, number>>>;
}

/** One committed transition. */
export interface Transition {
  readonly id: number;
  readonly attempt: number;
  readonly from_state: JobState | null;
  readonly to_state: JobState;
  readonly actor: string;
  readonly message: string;
  readonly at: string;
}

export interface Checkpoint {
  readonly step: number;
  readonly attempt: number;
  readonly size_bytes: number;
  readonly created_at: string;
}

/** What the user's jobs held of their clusters since a moment, times how long. */
export interface JobUsage {
  readonly since: string;
  readonly cpu_seconds: number;
  readonly gpu_seconds: number;
}

/** A piece of a log; offsets count UTF-8 bytes over all attempts. */
export interface LogChunk {
  readonly offset: number;
  readonly next_offset: number;
  readonly text: string;
  readonly complete: boolean;
}

/** What `GET /jobs` filters by. */
export interface JobQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
  readonly state?: JobState | 'live' | undefined;
  /** Children of a sweep are listed by it only. */
  readonly parent?: string | undefined;
}

/** The routes of jobs. */
export interface JobsApi {
  list(query: JobQuery): Promise<Page<Job>>;
  get(id: string): Promise<JobDetail>;
  cancel(id: string): Promise<Job>;
  pause(id: string): Promise<Job>;
  resume(id: string): Promise<Job>;
  transitions(id: string): Promise<Page<Transition>>;
  checkpoints(id: string): Promise<Page<Checkpoint>>;
  log(id: string, offset: number, limit: number): Promise<LogChunk>;
  /** The notebook of a job as it was run, in Jupyter's format. */
  notebook(id: string): Promise<object>;
  usage(): Promise<JobUsage>;
}

/** The routes of jobs on a real server. What the panel asks by itself is no activity of the user's. */
export function jobsApi(settings: ServerConnection.ISettings): JobsApi {
  const read = <T>(path: readonly string[], query: object = {}): Promise<T> =>
    request<T>(settings, ['jobs', ...path], { query: { ...query }, activity: false });
  const act = (id: string, verb: string): Promise<Job> =>
    request<Job>(settings, ['jobs', id, verb], { method: 'POST' });
  return {
    list: query => read([], query),
    get: id => read([id]),
    cancel: id => act(id, 'cancel'),
    pause: id => act(id, 'pause'),
    resume: id => act(id, 'resume'),
    transitions: id => read([id, 'events'], { limit: 500 }),
    checkpoints: id => read([id, 'checkpoints'], { limit: 500 }),
    log: (id, offset, limit) => read([id, 'logs'], { offset, limit }),
    notebook: id => request<object>(settings, ['jobs', id, 'notebook']),
    usage: () => read(['usage'])
  };
}
