import { Time } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Attempt, Job, JobState } from '../api/jobs';

/** The word for a state. */
export function stateLabel(state: JobState, trans: TranslationBundle): string {
  const labels: Record<JobState, string> = {
    queued: trans.__('Queued'),
    admitted: trans.__('Admitted'),
    starting: trans.__('Starting'),
    running: trans.__('Running'),
    interrupted: trans.__('Interrupted'),
    cancelling: trans.__('Cancelling'),
    succeeded: trans.__('Succeeded'),
    failed: trans.__('Failed'),
    cancelled: trans.__('Cancelled')
  };
  return labels[state];
}

/** How long ago, in words; a clock that differs from the server's never puts it into the future. */
export function age(when: string): string {
  return Time.formatHuman(new Date(Math.min(Date.parse(when), Date.now())), 'short');
}

/** Date and time, to the second. */
export function moment(when: string): string {
  return new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(when));
}

/** The time of day, to the second. */
export function timeOfDay(when: string): string {
  return new Intl.DateTimeFormat(language(), { timeStyle: 'medium' }).format(new Date(when));
}

/** A span of time in its two largest units. */
export function duration(milliseconds: number, trans: TranslationBundle): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60
  ];
  if (days) {
    return trans.__('%1 d %2 h', days, hours);
  }
  if (hours) {
    return trans.__('%1 h %2 min', hours, minutes);
  }
  return minutes ? trans.__('%1 min %2 s', minutes, seconds % 60) : trans.__('%1 s', seconds);
}

/** A size in bytes with three digits. */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  return `${number(size / 1000 ** power, 3)} ${units[power]}`;
}

/** A number with some significant digits, in the user's language. */
export function number(value: number, digits = 4): string {
  const wide = value !== 0 && (Math.abs(value) >= 1e9 || Math.abs(value) < 1e-3);
  return new Intl.NumberFormat(language(), {
    maximumSignificantDigits: digits,
    notation: wide ? 'scientific' : 'standard'
  }).format(value);
}

/** How far a job is, from 0 to 1; null where it cannot be told. */
export function fraction(job: Job): number | null {
  const { progress } = job;
  return progress?.total ? Math.min(1, Math.max(0, progress.step / progress.total)) : null;
}

/** How far a job is, in words; empty before its first step. */
export function progressLabel(job: Job, trans: TranslationBundle): string {
  const { progress } = job;
  if (!progress) {
    return '';
  }
  return progress.total ? trans.__('%1 of %2', progress.step, progress.total) : trans.__('step %1', progress.step);
}

/** What a row says to those who hear it. */
export function rowLabel(job: Job, trans: TranslationBundle): string {
  return [
    job.name,
    stateLabel(job.state, trans),
    progressLabel(job, trans),
    job.attempt > 1 ? trans.__('attempt %1', job.attempt) : '',
    age(job.created_at)
  ]
    .filter(Boolean)
    .join(', ');
}

/** What became of an attempt, in a sentence or two. */
export function attemptSentence(attempt: Attempt, trans: TranslationBundle): string {
  if (!attempt.started_at) {
    return trans.__('Not started yet.');
  }
  const began =
    attempt.resumed_step === null
      ? trans.__('Began from nothing')
      : trans.__('Went on from the checkpoint of step %1', attempt.resumed_step);
  const took = attempt.ended_at
    ? trans.__('ran for %1', duration(Date.parse(attempt.ended_at) - Date.parse(attempt.started_at), trans))
    : trans.__('started %1', age(attempt.started_at));
  return trans.__('%1, %2.', began, took);
}

/** What a job asked of the cluster. */
export function resourcesLabel({ resources }: Job, trans: TranslationBundle): string {
  return [
    trans._n('%1 CPU', '%1 CPUs', resources.cpus),
    resources.gpus ? trans._n('%1 GPU', '%1 GPUs', resources.gpus) : '',
    resources.memory_bytes ? trans.__('%1 memory', bytes(resources.memory_bytes)) : ''
  ]
    .filter(Boolean)
    .join(' · ');
}

function language(): string {
  return document.documentElement.lang || 'en';
}
