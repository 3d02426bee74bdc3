import { isFinal, type Job, type JobState, type Progress } from '../api/jobs';

/** What the server emits about a job (`server/events/job.yaml`). */
export interface JobEvent {
  readonly job_id: string;
  readonly name: string;
  readonly owner: string;
  readonly what: 'state' | 'progress' | 'log' | 'checkpoint';
  readonly state: JobState;
  readonly attempt: number;
  readonly message: string;
  readonly progress: Progress | null;
  readonly log_size: number;
}

const PHASE: Readonly<Record<JobState, number>> = {
  queued: 0,
  admitted: 1,
  starting: 2,
  running: 3,
  interrupted: 4,
  cancelling: 4,
  paused: 5,
  succeeded: 6,
  failed: 6,
  cancelled: 6
};
/** From these a job goes back into the queue, within the same attempt. */
const RETURNING: ReadonlySet<JobState> = new Set<JobState>(['interrupted', 'paused']);

type Moment = Pick<Job, 'state' | 'attempt'>;

/**
 * Whether `next` is later in a job's life than `now`.
 *
 * Events come at least once, and later than what an answer of the server has told, so they are not taken on trust:
 * a final state stays, a newer attempt wins, and within an attempt only the way forward counts. The one way back is from
 * `interrupted` and `paused` into the queue.
 */
export function isLater(now: Moment, next: Moment): boolean {
  if (isFinal(now.state)) {
    return false;
  }
  if (next.attempt !== now.attempt) {
    return next.attempt > now.attempt;
  }
  const returns = RETURNING.has(now.state) && (next.state === 'queued' || next.state === 'admitted');
  return returns || PHASE[next.state] > PHASE[now.state];
}

/** Return the job after an event, or the very same object when the event brings nothing new. */
export function applyEvent<T extends Job>(job: T, event: JobEvent): T {
  const later = isLater(job, event);
  const moment: Moment = later ? event : job;
  // Why a job waits changes while its state does not.
  const message = later || isSame(job, event) ? event.message : job.message;
  const progress = laterProgress(job, event);
  const log_size = Math.max(job.log_size, event.log_size);
  if (!later && message === job.message && progress === job.progress && log_size === job.log_size) {
    return job;
  }
  return {
    ...job,
    state: moment.state,
    attempt: moment.attempt,
    // A place belongs to the queue that it was told of.
    position: later ? null : job.position,
    message,
    progress,
    log_size
  };
}

/** Whether two moments are the same. */
export function isSame(a: Moment, b: Moment): boolean {
  return a.state === b.state && a.attempt === b.attempt;
}

/** Return the server's answer, except for what events told while it was under way. */
export function mergeAnswer<T extends Job>(known: Job, answer: T): T {
  const overtaken = isLater(answer, known);
  const { state, attempt, position, message } = overtaken ? known : answer;
  return {
    ...answer,
    state,
    attempt,
    position,
    message,
    progress: laterProgress(answer, known),
    log_size: Math.max(known.log_size, answer.log_size)
  };
}

function laterProgress(
  now: Moment & { readonly progress: Progress | null },
  next: Moment & { readonly progress: Progress | null }
): Progress | null {
  if (!next.progress || next.attempt < now.attempt) {
    return now.progress;
  }
  if (now.progress && next.attempt === now.attempt && next.progress.step <= now.progress.step) {
    return now.progress;
  }
  return next.progress;
}

/** Newest first; the id breaks ties, because it sorts by time too. */
export function newestFirst(a: Job, b: Job): number {
  return Date.parse(b.created_at) - Date.parse(a.created_at) || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
}
