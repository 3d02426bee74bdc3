import { refreshIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { Job } from '../../api/jobs';
import { age, moment, progressLabel, rowLabel } from '../format';
import type { JobsModel, StateFilter } from '../model';
import { ErrorNotice, IconButton, ProgressBar, StateChip, useModel, useTick, useTrans } from './common';

/** Rows that PageUp and PageDown skip. */
const PAGE_ROWS = 10;
const SEARCH_DELAY_MS = 250;
const AGE_TICK_MS = 15_000;

interface JobListProps {
  readonly model: JobsModel;
  /** The row that holds the focus, or did; null for the first one. */
  readonly current: string | null;
  readonly onCurrent: (id: string) => void;
  readonly onOpen: (id: string) => void;
  readonly onCancel: (id: string) => void;
  /** Whether to take the focus when first drawn: the user came back from a job. */
  readonly takeFocus: boolean;
}

/** The jobs as a list box, with a filter and a search above. */
export function JobList(props: JobListProps): React.ReactElement {
  const { model } = props;
  const trans = useTrans();
  const state = useModel(model);
  const { jobs, error, loading, hasMore } = state;
  useTick(AGE_TICK_MS);
  const refresh = (): void => void model.refresh();
  const unusable = error && (error.extensionMissing || !jobs.length);
  return (
    <div className="jpx-JobList">
      {!error?.extensionMissing && <Filter model={model} filter={state.filter} name={state.name} />}
      {error && <ErrorNotice error={error} onRetry={refresh} />}
      {!unusable && (
        <div className="jpx-JobList-scroll">
          {jobs.length > 0 && <ListBox {...props} jobs={jobs} />}
          {jobs.length === 0 && (
            <p className="jpx-JobList-empty">
              {loading
                ? trans.__('Loading jobs…')
                : state.name || state.filter !== 'all'
                  ? trans.__('No job matches.')
                  : trans.__('No jobs yet. Submit one from a notebook with %%submit_job.')}
            </p>
          )}
          {hasMore && (
            <button
              type="button"
              className="jpx-Button jpx-JobList-more"
              disabled={loading}
              onClick={() => void model.loadMore()}
            >
              {trans.__('Load older jobs')}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function ListBox(props: JobListProps & { readonly jobs: readonly Job[] }): React.ReactElement {
  const { jobs, onCurrent, onOpen, onCancel, takeFocus } = props;
  const trans = useTrans();
  const list = React.useRef<HTMLUListElement>(null);
  const current = jobs.some(job => job.id === props.current) ? props.current : (jobs[0]?.id ?? null);

  const focus = (id: string | null | undefined): void => {
    const row = [...(list.current?.children ?? [])].find(item => (item as HTMLElement).dataset['jobId'] === id);
    (row as HTMLElement | undefined)?.focus();
  };
  // Coming back from a job, the focus goes to the row it left from, once.
  const returning = React.useRef(takeFocus);
  React.useEffect(() => {
    if (returning.current) {
      returning.current = false;
      focus(current);
    }
  });

  const onKeyDown = (event: React.KeyboardEvent): void => {
    // The row that has the focus, not the current one: quick keys come before the panel is drawn again.
    const id = (event.target as HTMLElement).dataset['jobId'];
    const at = jobs.findIndex(job => job.id === id);
    const steps: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      Home: 0,
      End: jobs.length - 1,
      PageDown: at + PAGE_ROWS,
      PageUp: at - PAGE_ROWS
    };
    const to = steps[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey || !id || at < 0) {
      return;
    }
    if (to !== undefined) {
      focus(jobs[Math.min(jobs.length - 1, Math.max(0, to))]?.id);
    } else if (event.key === 'Enter' || event.key === ' ') {
      onOpen(id);
    } else if (event.key === 'Delete') {
      onCancel(id);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <ul ref={list} className="jpx-JobList-rows" role="listbox" aria-label={trans.__('Jobs')} onKeyDown={onKeyDown}>
      {jobs.map(job => (
        <Row
          key={job.id}
          job={job}
          age={age(job.created_at)}
          isCurrent={job.id === current}
          onCurrent={onCurrent}
          onOpen={onOpen}
        />
      ))}
    </ul>
  );
}

interface RowProps {
  readonly job: Job;
  /** Given, so that a row is drawn anew only when its own words change. */
  readonly age: string;
  readonly isCurrent: boolean;
  readonly onCurrent: (id: string) => void;
  readonly onOpen: (id: string) => void;
}

const Row = React.memo(function Row({ job, age, isCurrent, onCurrent, onOpen }: RowProps): React.ReactElement {
  const trans = useTrans();
  return (
    <li
      className="jpx-JobRow"
      role="option"
      aria-selected={isCurrent}
      aria-label={rowLabel(job, trans)}
      tabIndex={isCurrent ? 0 : -1}
      data-job-id={job.id}
      data-state={job.state}
      onFocus={() => onCurrent(job.id)}
      onContextMenu={() => onCurrent(job.id)}
      onClick={() => onOpen(job.id)}
    >
      <span className="jpx-JobRow-line">
        <span className="jpx-JobRow-name" title={job.name}>
          {job.name}
        </span>
        <span className="jpx-JobRow-age" title={moment(job.created_at)}>
          {age}
        </span>
      </span>
      <span className="jpx-JobRow-line">
        <StateChip state={job.state} />
        <ProgressBar job={job} />
        <span className="jpx-JobRow-step">{job.state !== 'succeeded' && progressLabel(job, trans)}</span>
        {job.attempt > 1 && <span className="jpx-JobRow-attempt">{trans.__('attempt %1', job.attempt)}</span>}
      </span>
    </li>
  );
});

function Filter({ model, filter, name }: { model: JobsModel; filter: StateFilter; name: string }): React.ReactElement {
  const trans = useTrans();
  const [typed, setTyped] = React.useState(name);
  React.useEffect(() => {
    const timer = setTimeout(() => void model.setFilter(model.state.filter, typed.trim()), SEARCH_DELAY_MS);
    return () => clearTimeout(timer);
  }, [model, typed]);
  const choices: [StateFilter, string][] = [
    ['all', trans.__('All')],
    ['live', trans.__('Live')],
    ['finished', trans.__('Finished')]
  ];
  return (
    <div className="jpx-Filter" role="search" aria-label={trans.__('Filter jobs')}>
      <div className="jpx-Filter-line">
        <input
          type="search"
          className="jpx-Filter-name"
          placeholder={trans.__('Search by name')}
          aria-label={trans.__('Search jobs by name')}
          value={typed}
          onChange={event => setTyped(event.target.value)}
        />
        <IconButton icon={refreshIcon} label={trans.__('Refresh jobs')} onClick={() => void model.refresh()} />
      </div>
      <div className="jpx-Filter-states" role="group" aria-label={trans.__('States to show')}>
        {choices.map(([value, label]) => (
          <button
            key={value}
            type="button"
            className="jpx-Filter-state"
            aria-pressed={value === filter}
            onClick={() => void model.setFilter(value, model.state.name)}
          >
            {label}
          </button>
        ))}
      </div>
    </div>
  );
}
