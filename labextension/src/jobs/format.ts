import type { TranslationBundle } from '@jupyterlab/translation';
import type { Amounts } from '../api/clusters';
import type { Attempt, Job, JobState, JobUsage } from '../api/jobs';
import { age, bytes, duration, language, number } from '../common/format';

/** The word for a state; a wish to pause goes through the same state as one to cancel, for another reason. */
export function stateLabel(state: JobState, trans: TranslationBundle, reason: string | null = null): string {
  if (state === 'cancelling' && reason === 'paused') {
    return trans.__('Pausing');
  }
  const labels: Record<JobState, string> = {
    queued: trans.__('Queued'),
    admitted: trans.__('Admitted'),
    starting: trans.__('Starting'),
    running: trans.__('Running'),
    interrupted: trans.__('Interrupted'),
    cancelling: trans.__('Cancelling'),
    paused: trans.__('Paused'),
    succeeded: trans.__('Succeeded'),
    failed: trans.__('Failed'),
    cancelled: trans.__('Cancelled')
  };
  return labels[state];
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
    job.kind === 'sweep' ? trans.__('sweep') : '',
    stateLabel(job.state, trans, job.reason),
    progressLabel(job, trans),
    priorityLabel(job, trans),
    job.attempt > 1 ? trans.__('attempt %1', job.attempt) : '',
    job.parent_id ? parametersLabel(job) : '',
    rowNote(job, trans),
    age(job.created_at)
  ]
    .filter(Boolean)
    .join(', ');
}

/** Why a job waits, or how its children are; empty where its state says all. */
export function rowNote(job: Job, trans: TranslationBundle): string {
  const place = job.position === null ? '' : trans.__('%1 in the queue', ordinal(job.position));
  const says = job.state === 'queued' || job.state === 'paused' || (job.kind === 'sweep' && job.state !== 'succeeded');
  return [place, says ? job.message : ''].filter(Boolean).join(' · ');
}

/** How urgent a job is; empty where it is as urgent as any. */
export function priorityLabel({ priority }: Job, trans: TranslationBundle): string {
  return priority ? trans.__('priority %1', priority) : '';
}

/** What a job was called with: `lr=0.1, depth=3`. */
export function parametersLabel({ parameters }: Job): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}=${valueLabel(value)}`)
    .join(', ');
}

/** A parameter's value: a text as it is, anything else as JSON. */
export function valueLabel(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** What became of an attempt, in plain sentences; the first says how it began. */
export function attemptSentences(attempt: Attempt, trans: TranslationBundle): string[] {
  const { resumed_step, durable_step, message } = attempt;
  if (!attempt.started_at) {
    return [message || trans.__('Not started yet.')];
  }
  const began =
    resumed_step === null ? trans.__('It began from nothing.') : trans.__('It resumed at step %1.', resumed_step);
  // While it runs, the server's sentence says the same, and how many steps are redone.
  const told = resumed_step !== null && message.includes('resumed at step');
  const saved = durable_step === null ? '' : trans.__('Its last checkpoint is of step %1.', durable_step);
  return [told ? message : began, told ? '' : message, saved].filter(Boolean);
}

/** What an attempt took: time, and what it held of the cluster meanwhile. */
export function attemptCosts(attempt: Attempt, trans: TranslationBundle): string {
  const { started_at, ended_at, cpu_seconds, gpu_seconds, peak_memory_bytes } = attempt;
  const span = started_at ? (ended_at ? Date.parse(ended_at) : Date.now()) - Date.parse(started_at) : null;
  return [
    span === null ? '' : duration(span, trans),
    cpu_seconds ? trans.__('%1 CPU-seconds', number(cpu_seconds, 3)) : '',
    gpu_seconds ? trans.__('%1 GPU-seconds', number(gpu_seconds, 3)) : '',
    peak_memory_bytes === null ? '' : trans.__('at most %1 of memory', bytes(peak_memory_bytes))
  ]
    .filter(Boolean)
    .join(' · ');
}

/** What the user's jobs held of their clusters, in parts that belong together each. */
export function usageLabels(usage: JobUsage, trans: TranslationBundle): string[] {
  const days = Math.round((Date.now() - Date.parse(usage.since)) / 86_400_000);
  return [
    trans._n('Last day:', 'Last %1 days:', days),
    trans.__('%1 CPU-hours,', hours(usage.cpu_seconds)),
    trans.__('%1 GPU-hours', hours(usage.gpu_seconds))
  ];
}

/** Amounts of resources: `1 CPU, 2 GPU, 4 GB memory`. */
export function amountsLabel(amounts: Amounts, trans: TranslationBundle): string {
  return resourcesOf(amounts)
    .map(name => resourceLabel(name, amountLabel(name, amounts[name]!), trans))
    .join(', ');
}

/** How much of what there is is in use: `1 of 2 CPU, 0 B of 4 GB memory`. */
export function useLabel(used: Amounts, total: Amounts, trans: TranslationBundle): string {
  return resourcesOf(total)
    .map(name => {
      const all = amountLabel(name, total[name]!);
      const taken = used[name];
      return resourceLabel(
        name,
        taken === undefined ? all : trans.__('%1 of %2', amountLabel(name, taken), all),
        trans
      );
    })
    .join(' · ');
}

/** What the queue wants, the same things counted: `2 × 1 CPU, 1 GPU`. */
export function wantedLabels(wanted: readonly Amounts[], trans: TranslationBundle): string[] {
  const counts = new Map<string, number>();
  wanted
    .map(bundle => amountsLabel(bundle, trans))
    .filter(Boolean)
    .forEach(label => counts.set(label, (counts.get(label) ?? 0) + 1));
  return [...counts].map(([label, count]) => (count > 1 ? trans.__('%1 × %2', count, label) : label));
}

/** Those of Ray's resources that people ask for; the rest are its own marks, such as the address of a node. */
function resourcesOf(amounts: Amounts): string[] {
  const first = ['CPU', 'GPU', 'memory'];
  return [...first, ...Object.keys(amounts).sort()].filter(
    (name, at, all) =>
      amounts[name] && all.indexOf(name) === at && !/^(node:|accelerator_type:|object_store_memory$|worker_)/.test(name)
  );
}

function amountLabel(name: string, amount: number): string {
  return name === 'memory' ? bytes(amount) : number(amount);
}

function resourceLabel(name: string, amount: string, trans: TranslationBundle): string {
  return name === 'memory' ? trans.__('%1 memory', amount) : trans.__('%1 %2', amount, name);
}

function hours(seconds: number): string {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: 2 }).format(seconds / 3600);
}

/** A place in a row: `2nd` in English, `2.` elsewhere. */
function ordinal(place: number): string {
  if (!language().startsWith('en')) {
    return `${place}.`;
  }
  const suffixes: Partial<Record<Intl.LDMLPluralRule, string>> = { one: 'st', two: 'nd', few: 'rd' };
  return `${place}${suffixes[new Intl.PluralRules('en', { type: 'ordinal' }).select(place)] ?? 'th'}`;
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
