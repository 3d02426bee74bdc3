import * as React from 'react';
import { isFinal, type Job, type JobState } from '../../api/jobs';
import { Chip, useTrans } from '../../common/components';
import { STATE_ICONS } from '../../icons';
import { fraction, stateLabel } from '../format';

interface StateChipProps {
  readonly state: JobState;
  readonly reason?: string | null;
}

/** The state of a job. */
export function StateChip({ state, reason = null }: StateChipProps): React.ReactElement {
  return <Chip state={state} icon={STATE_ICONS[state]} label={stateLabel(state, useTrans(), reason)} />;
}

/** How far a live job is; nothing where it cannot be told. */
export function ProgressBar({ job }: { job: Job }): React.ReactElement | null {
  const trans = useTrans();
  const share = fraction(job);
  if (share === null || isFinal(job.state)) {
    return null;
  }
  return (
    <span
      className="jpx-Progress"
      role="progressbar"
      aria-label={trans.__('Progress')}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      <span className="jpx-Progress-done" style={{ width: `${share * 100}%` }} />
    </span>
  );
}
