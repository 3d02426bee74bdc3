import { copyIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import {
  type Checkpoint,
  isFinal,
  isPlaced,
  type Job,
  type JobDetail,
  type JobState,
  type Transition
} from '../../api/jobs';
import { ErrorNotice, IconButton, Section, useModel, useTick, useTrans } from '../../common/components';
import { age, bytes, duration, moment, number, timeOfDay } from '../../common/format';
import { backIcon, pauseIcon, resumeIcon, STATE_ICONS } from '../../icons';
import type { DetailModel } from '../detail';
import {
  attemptCosts,
  attemptSentences,
  progressLabel,
  resourcesLabel,
  rowNote,
  stateLabel,
  valueLabel
} from '../format';
import { ProgressBar, StateChip } from './common';
import { LogView } from './log';

interface DetailProps {
  readonly model: DetailModel;
  readonly onBack: () => void;
  readonly onOpen: (id: string) => void;
  readonly onCancel: () => void;
  readonly onPause: () => void;
  readonly onResume: () => void;
  readonly onCopyId: () => void;
  readonly onSaveLog: () => void;
  readonly onOpenNotebook: () => void;
}

/** One job with all that is known of it. Escape goes back. */
export function Detail(props: DetailProps): React.ReactElement {
  const { model, onBack, onOpen, onCancel, onPause, onResume, onCopyId, onSaveLog, onOpenNotebook } = props;
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
  const paused = job?.state === 'paused';
  const ending = !job || isFinal(job.state) || job.state === 'cancelling';
  return (
    <div className="jpx-Detail" onKeyDown={onKeyDown}>
      <div className="jpx-Detail-head">
        <IconButton icon={backIcon} label={trans.__('Back to the list of jobs')} onClick={onBack} />
        <h2 ref={heading} tabIndex={-1} title={job?.name}>
          {job?.name ?? trans.__('Job')}
        </h2>
        <IconButton icon={copyIcon} label={trans.__('Copy the id of the job')} onClick={onCopyId} />
        <IconButton
          icon={paused ? resumeIcon : pauseIcon}
          label={paused ? trans.__('Resume the job') : trans.__('Pause the job')}
          disabled={ending}
          onClick={paused ? onResume : onPause}
        />
        <IconButton
          icon={stopIcon}
          label={trans.__('Cancel the job…')}
          disabled={ending && job?.reason !== 'paused'}
          onClick={onCancel}
        />
      </div>
      <div className="jpx-Detail-scroll">
        {error && <ErrorNotice error={error} onRetry={() => void model.refresh()} />}
        {!job && !error && <p className="jpx-List-empty">{trans.__('Loading the job…')}</p>}
        {job && <Summary job={job} related={state.related} onOpen={onOpen} />}
        {job?.kind === 'notebook' && (
          <p className="jpx-Detail-act">
            <button type="button" className="jpx-Button" disabled={!job.started_at} onClick={onOpenNotebook}>
              {trans.__('Open the executed notebook')}
            </button>
          </p>
        )}
        {state.log && (
          <Section title={trans.__('Log')} open>
            <LogView log={state.log} onSave={onSaveLog} />
          </Section>
        )}
        {job && (
          <>
            {job.kind === 'sweep' ? (
              <Children counts={job.children} />
            ) : (
              <>
                <Checkpoints checkpoints={state.checkpoints} />
                <Attempts job={job} />
              </>
            )}
            <Parameters job={job} />
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

interface SummaryProps {
  readonly job: Job;
  readonly related: ReadonlyMap<string, Job>;
  readonly onOpen: (id: string) => void;
}

function Summary({ job, related, onOpen }: SummaryProps): React.ReactElement {
  const trans = useTrans();
  useTick(1_000);
  const metrics = Object.entries(job.progress?.metrics ?? {});
  return (
    <div className="jpx-Summary">
      <div className="jpx-Summary-state">
        <StateChip state={job.state} reason={job.reason} />
        <ProgressBar job={job} />
        <span className="jpx-Row-step">{progressLabel(job, trans)}</span>
      </div>
      {job.message && <p>{job.position === null ? job.message : rowNote(job, trans)}</p>}
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
            <dt>
              {job.ended_at
                ? trans.__('Took')
                : isPlaced(job.state)
                  ? trans.__('Running for')
                  : trans.__('Since its start')}
            </dt>
            <dd>
              {duration((job.ended_at ? Date.parse(job.ended_at) : Date.now()) - Date.parse(job.started_at), trans)}
            </dd>
          </>
        )}
        {job.kind !== 'sweep' && (
          <>
            <dt>{trans.__('Attempt')}</dt>
            <dd>
              {!job.attempt
                ? trans.__('none yet')
                : job.retries
                  ? trans._n('%2, with %1 retry allowed', '%2, with %1 retries allowed', job.retries, job.attempt)
                  : job.attempt}
            </dd>
          </>
        )}
        <dt>{job.kind === 'sweep' ? trans.__('Each asks for') : trans.__('Asks for')}</dt>
        <dd>{resourcesLabel(job, trans)}</dd>
        {job.priority !== 0 && (
          <>
            <dt>{trans.__('Priority')}</dt>
            <dd>{job.priority}</dd>
          </>
        )}
        {job.parent_id && (
          <>
            <dt>{trans.__('Sweep')}</dt>
            <dd>
              <JobLink id={job.parent_id} job={related.get(job.parent_id)} onOpen={onOpen} />
            </dd>
          </>
        )}
        {job.after.length > 0 && (
          <>
            <dt>{trans.__('After')}</dt>
            <dd>
              {job.after.map(id => (
                <JobLink key={id} id={id} job={related.get(id)} onOpen={onOpen} />
              ))}
            </dd>
          </>
        )}
        <dt>{trans.__('Id')}</dt>
        <dd className="jpx-Facts-id" title={job.id}>
          {job.id}
        </dd>
      </dl>
    </div>
  );
}

interface JobLinkProps {
  readonly id: string;
  readonly job: Job | undefined;
  readonly onOpen: (id: string) => void;
}

/** Another job by its name, as far as that is known. */
function JobLink({ id, job, onOpen }: JobLinkProps): React.ReactElement {
  return (
    <span className="jpx-JobLink">
      <button type="button" className="jpx-Link" title={id} onClick={() => onOpen(id)}>
        {job?.name ?? id}
      </button>
      {job && <StateChip state={job.state} reason={job.reason} />}
    </span>
  );
}

/** In which states the children of a sweep are. */
function Children({ counts }: { counts: JobDetail['children'] }): React.ReactElement {
  const trans = useTrans();
  const states = Object.entries(counts) as [JobState, number][];
  const total = states.reduce((sum, [, count]) => sum + count, 0);
  return (
    <Section title={trans.__('Jobs of the sweep')} count={total} open>
      <ul className="jpx-Entries">
        {states.map(([state, count]) => (
          <li key={state} className="jpx-Entries-head">
            <StateChip state={state} />
            {count}
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Parameters({ job }: { job: Job }): React.ReactElement | null {
  const trans = useTrans();
  const parameters = Object.entries(job.parameters);
  return parameters.length === 0 ? null : (
    <Section title={trans.__('Parameters')} count={parameters.length} open>
      <dl className="jpx-Facts jpx-Parameters">
        {parameters.map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd>{valueLabel(value)}</dd>
          </React.Fragment>
        ))}
      </dl>
    </Section>
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
              {attemptSentences(attempt, trans).map(sentence => (
                <p key={sentence}>{sentence}</p>
              ))}
              <p className="jpx-Entries-costs">{attemptCosts(attempt, trans)}</p>
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
