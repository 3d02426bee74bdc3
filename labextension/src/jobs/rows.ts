import type { Job } from '../api/jobs';
import type { JobsState } from './model';

/** A line of the list: a job; or what stands for the children of a sweep that are not loaded. */
export type ListRow =
  | { readonly kind: 'job'; readonly id: string; readonly job: Job; readonly open: boolean | null }
  | { readonly kind: 'rest'; readonly id: string; readonly parent: string; readonly family: JobsState };

/** The lines of the list: jobs, and below each open sweep its children. `open` is null where there is nothing to open. */
export function rowsOf({ jobs, families }: JobsState): ListRow[] {
  return jobs.flatMap((job): ListRow[] => {
    const family = families.get(job.id);
    const row = { kind: 'job', id: job.id, job, open: job.kind === 'sweep' ? family !== undefined : null } as const;
    if (!family) {
      return [row];
    }
    const children = family.jobs.map(child => ({ kind: 'job', id: child.id, job: child, open: null }) as const);
    const whole = children.length > 0 && !family.hasMore && !family.error;
    const rest = { kind: 'rest', id: `rest of ${job.id}`, parent: job.id, family } as const;
    return [row, ...children, ...(whole ? [] : [rest])];
  });
}
