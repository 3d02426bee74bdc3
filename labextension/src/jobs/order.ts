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
  succeeded: 5,
  failed: 5,
  cancelled: 5
};

type Moment = Pick<Job, 'state' | 'attempt'>;

/**
 * Whether `next` is later in a job's life than `now`.
 *
 * Events come at least once, and answers of the server may have been overtaken by events, so neither is taken on trust:
 * a final state stays, a newer attempt wins, and within an attempt only the way forward counts. The one way back is from
 * `interrupted` to `queued`.
 */
export function isLater(now: Moment, next: Moment): boolean {
  if (isFinal(now.state)) {
    return false;
  }
  if (next.attempt !== now.attempt) {
    return next.attempt > now.attempt;
  }
  return (now.state === 'interrupted' && next.state === 'queued') || PHASE[next.state] > PHASE[now.state];
}

/** Return the job after an event, or the very same object when the event brings nothing new. */
export function applyEvent<T extends Job>(job: T, event: JobEvent): T {
  const later = isLater(job, event);
  const moment: Moment = later ? event : job;
  const progress = laterProgress(job, event);
  const log_size = Math.max(job.log_size, event.log_size);
  if (!later && progress === job.progress && log_size === job.log_size) {
    return job;
  }
  return {
    ...job,
    state: moment.state,
    attempt: moment.attempt,
    message: later ? event.message : job.message,
    progress,
    log_size
  };
}

/** Return the server's answer, except where events have overtaken it. */
export function mergeAnswer<T extends Job>(known: Job | undefined, answer: T): T {
  if (!known) {
    return answer;
  }
  const overtaken = isLater(answer, known);
  const { state, attempt, message } = overtaken ? known : answer;
  return {
    ...answer,
    state,
    attempt,
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
