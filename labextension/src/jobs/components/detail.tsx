import { copyIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { type Checkpoint, isFinal, type Job, type JobDetail, type Transition } from '../../api/jobs';
import { backIcon, STATE_ICONS } from '../../icons';
import type { DetailModel } from '../detail';
import {
  age,
  attemptSentence,
  bytes,
  duration,
  moment,
  number,
  progressLabel,
  resourcesLabel,
  stateLabel,
  timeOfDay
} from '../format';
import { ErrorNotice, IconButton, ProgressBar, StateChip, useModel, useTick, useTrans } from './common';
import { LogView } from './log';

interface DetailProps {
  readonly model: DetailModel;
  readonly onBack: () => void;
  readonly onCancel: () => void;
  readonly onCopyId: () => void;
  readonly onSaveLog: () => void;
}

/** One job with all that is known of it. Escape goes back. */
export function Detail({ model, onBack, onCancel, onCopyId, onSaveLog }: DetailProps): React.ReactElement {
  const trans = useTrans();
  const state = useModel(model);
  const { job, error } = state;
  const heading = React.useRef<HTMLHeadingElement>(null);
  React.useEffect(() => heading.current?.focus(), [model]);
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
      onBack();
    }
  };
  return (
    <div className="jpx-Detail" onKeyDown={onKeyDown}>
      <div className="jpx-Detail-head">
        <IconButton icon={backIcon} label={trans.__('Back to the list of jobs')} onClick={onBack} />
        <h2 ref={heading} tabIndex={-1} title={job?.name}>
          {job?.name ?? trans.__('Job')}
        </h2>
        <IconButton icon={copyIcon} label={trans.__('Copy the id of the job')} onClick={onCopyId} />
        <IconButton
          icon={stopIcon}
          label={trans.__('Cancel the job…')}
          disabled={!job || isFinal(job.state) || job.state === 'cancelling'}
          onClick={onCancel}
        />
      </div>
      <div className="jpx-Detail-scroll">
        {error && <ErrorNotice error={error} onRetry={() => void model.refresh()} />}
        {!job && !error && <p className="jpx-JobList-empty">{trans.__('Loading the job…')}</p>}
        {job && <Summary job={job} />}
        {state.log && (
          <Section title={trans.__('Log')} open>
            <LogView log={state.log} onSave={onSaveLog} />
          </Section>
        )}
        {job && (
          <>
            <Checkpoints checkpoints={state.checkpoints} />
            <Attempts job={job} />
            <Timeline transitions={state.transitions} />
            <Section title={trans.__('Source')}>
              <pre className="jpx-Source" tabIndex={0} aria-label={trans.__('Source of the job')}>
                {job.source}
              </pre>
            </Section>
          </>
        )}
      </div>
    </div>
  );
}

function Summary({ job }: { job: Job }): React.ReactElement {
  const trans = useTrans();
  useTick(1_000);
  const metrics = Object.entries(job.progress?.metrics ?? {});
  return (
    <div className="jpx-Summary">
      <div className="jpx-Summary-state">
        <StateChip state={job.state} />
        <ProgressBar job={job} />
        <span className="jpx-JobRow-step">{progressLabel(job, trans)}</span>
      </div>
      {job.message && <p className="jpx-Summary-message">{job.message}</p>}
      {metrics.length > 0 && (
        <dl className="jpx-Metrics" aria-label={trans.__('Metrics of the last step')}>
          {metrics.map(([name, value]) => (
            <div key={name}>
              <dt title={name}>{name}</dt>
              <dd title={String(value)}>{number(value)}</dd>
            </div>
          ))}
        </dl>
      )}
      <dl className="jpx-Facts">
        <dt>{trans.__('Submitted')}</dt>
        <dd title={moment(job.created_at)}>{age(job.created_at)}</dd>
        {job.started_at && (
          <>
            <dt>{job.ended_at ? trans.__('Took') : trans.__('Running for')}</dt>
            <dd>
              {duration((job.ended_at ? Date.parse(job.ended_at) : Date.now()) - Date.parse(job.started_at), trans)}
            </dd>
          </>
        )}
        <dt>{trans.__('Attempt')}</dt>
        <dd>
          {!job.attempt
            ? trans.__('none yet')
            : job.retries
              ? trans._n('%2, with %1 retry allowed', '%2, with %1 retries allowed', job.retries, job.attempt)
              : job.attempt}
        </dd>
        <dt>{trans.__('Asks for')}</dt>
        <dd>{resourcesLabel(job, trans)}</dd>
        <dt>{trans.__('Id')}</dt>
        <dd className="jpx-Facts-id" title={job.id}>
          {job.id}
        </dd>
      </dl>
    </div>
  );
}

function Checkpoints({ checkpoints }: { checkpoints: readonly Checkpoint[] }): React.ReactElement {
  const trans = useTrans();
  return (
    <Section title={trans.__('Checkpoints')} count={checkpoints.length}>
      {checkpoints.length === 0 ? (
        <p className="jpx-Section-empty">{trans.__('No checkpoint saved.')}</p>
      ) : (
        <table className="jpx-Table">
          <thead>
            <tr>
              <th scope="col">{trans.__('Step')}</th>
              <th scope="col">{trans.__('Attempt')}</th>
              <th scope="col">{trans.__('Size')}</th>
              <th scope="col">{trans.__('Saved')}</th>
            </tr>
          </thead>
          <tbody>
            {checkpoints.map(({ step, attempt, size_bytes, created_at }) => (
              <tr key={`${attempt}/${step}`}>
                <td>{step}</td>
                <td>{attempt}</td>
                <td>{bytes(size_bytes)}</td>
                <td title={moment(created_at)}>{timeOfDay(created_at)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Section>
  );
}

function Attempts({ job }: { job: JobDetail }): React.ReactElement {
  const trans = useTrans();
  return (
    <Section title={trans.__('Attempts')} count={job.attempts.length}>
      {job.attempts.length === 0 ? (
        <p className="jpx-Section-empty">{trans.__('Waiting for its first attempt.')}</p>
      ) : (
        <ol className="jpx-Entries">
          {[...job.attempts].reverse().map(attempt => (
            <li key={attempt.number}>
              <span className="jpx-Entries-head">
                {trans.__('Attempt %1', attempt.number)}
                <StateChip state={attempt.state} />
              </span>
              <p>{attemptSentence(attempt, trans)}</p>
              {attempt.message && <p>{attempt.message}</p>}
              {attempt.durable_step !== null && (
                <p>{trans.__('Its last checkpoint is of step %1.', attempt.durable_step)}</p>
              )}
            </li>
          ))}
        </ol>
      )}
    </Section>
  );
}

function Timeline({ transitions }: { transitions: readonly Transition[] }): React.ReactElement {
  const trans = useTrans();
  return (
    <Section title={trans.__('Timeline')} count={transitions.length}>
      <ol className="jpx-Timeline">
        {transitions.map(({ id, to_state, message, actor, at }) => {
          const Icon = STATE_ICONS[to_state].react;
          return (
            <li key={id} data-state={to_state}>
              <Icon className="jpx-Timeline-icon" tag="span" aria-hidden="true" />
              <span className="jpx-Entries-head">
                {stateLabel(to_state, trans)}
                <time dateTime={at} title={moment(at)}>
                  {timeOfDay(at)}
                </time>
              </span>
              <p title={trans.__('By %1', actor)}>{message}</p>
            </li>
          );
        })}
      </ol>
    </Section>
  );
}

interface SectionProps {
  readonly title: string;
  readonly count?: number;
  readonly open?: boolean;
  readonly children: React.ReactNode;
}

function Section({ title, count, open = false, children }: SectionProps): React.ReactElement {
  return (
    <details className="jpx-Section" open={open}>
      <summary>
        {title}
        {count !== undefined && <span className="jpx-Section-count">{count}</span>}
      </summary>
      <div className="jpx-Section-body">{children}</div>
    </details>
  );
}
