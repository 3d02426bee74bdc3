import { refreshIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { Job } from '../../api/jobs';
import { ErrorNotice, IconButton, useModel, useTick, useTrans } from '../../common/components';
import { age, moment } from '../../common/format';
import { focusRow, placeAfter, rowIdOf, useListFocus } from '../../common/rows';
import { parametersLabel, priorityLabel, progressLabel, rowLabel, rowNote } from '../format';
import type { JobsModel, JobsState, StateFilter } from '../model';
import { type ListRow, rowsOf } from '../rows';
import { ProgressBar, StateChip } from './common';

/** Given to the sentence, in which two per cent signs would become one. */
const MAGIC = '%%submit_job';
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

/** The jobs, with a filter and a search above. */
export function JobList(props: JobListProps): React.ReactElement {
  const { model } = props;
  const trans = useTrans();
  const state = useModel(model);
  const { jobs, error, loading, hasMore } = state;
  const root = React.useRef<HTMLDivElement>(null);
  useListFocus(root, props.takeFocus);
  useTick(AGE_TICK_MS);
  const refresh = (): void => void model.refresh();
  const unusable = error && (error.extensionMissing || !jobs.length);
  return (
    <div ref={root} className="jpx-List">
      {!error?.extensionMissing && <Filter model={model} filter={state.filter} name={state.name} />}
      {error && <ErrorNotice error={error} onRetry={refresh} />}
      {!unusable && (
        <div className="jpx-List-scroll">
          {jobs.length > 0 && <Tree {...props} rows={rowsOf(state)} />}
          {jobs.length === 0 && (
            <p className="jpx-List-empty">
              {loading
                ? trans.__('Loading jobs…')
                : state.name || state.filter !== 'all'
                  ? trans.__('No job matches.')
                  : trans.__('No jobs yet. Submit one from a notebook with %1.', MAGIC)}
            </p>
          )}
          {hasMore && (
            <button
              type="button"
              className="jpx-Button jpx-List-more"
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

/** Jobs as a tree, in which sweeps open. Arrows go up and down, and into and out of a sweep. */
function Tree(props: JobListProps & { readonly rows: readonly ListRow[] }): React.ReactElement {
  const { model, rows, onCurrent, onOpen, onCancel } = props;
  const trans = useTrans();
  const list = React.useRef<HTMLUListElement>(null);
  const current = rows.some(row => row.id === props.current) ? props.current : (rows[0]?.id ?? null);

  const focus = (id: string | null | undefined): void => focusRow(list.current, id);
  // The same function for every drawing, so that rows that did not change are not drawn again.
  const onToggle = React.useCallback((id: string) => model.setOpen(id, !model.family(id)), [model]);
  const onRest = (parent: string): void => {
    const family = model.family(parent);
    void (family?.state.hasMore && !family.state.error ? family.loadMore() : family?.refresh());
  };

  const onKeyDown = (event: React.KeyboardEvent): void => {
    // The row that has the focus, not the current one: quick keys come before the panel is drawn again.
    const at = rows.findIndex(({ id }) => id === rowIdOf(event));
    const row = rows[at];
    if (event.altKey || event.ctrlKey || event.metaKey || !row) {
      return;
    }
    const to = placeAfter(event.key, at, rows.length);
    if (to !== undefined) {
      focus(rows[to]?.id);
    } else if (row.kind === 'rest') {
      if (event.key === 'ArrowLeft') {
        focus(row.parent);
      } else if (event.key === 'Enter' || event.key === ' ') {
        onRest(row.parent);
      } else {
        return;
      }
    } else if (event.key === 'Enter' || event.key === ' ') {
      onOpen(row.id);
    } else if (event.key === 'Delete') {
      onCancel(row.id);
    } else if (event.key === 'ArrowRight' && row.open !== null) {
      if (row.open) {
        focus(rows[at + 1]?.id);
      } else {
        onToggle(row.id);
      }
    } else if (event.key === 'ArrowLeft' && row.open) {
      onToggle(row.id);
    } else if (event.key === 'ArrowLeft' && row.job.parent_id) {
      focus(row.job.parent_id);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <ul ref={list} className="jpx-List-rows" role="tree" aria-label={trans.__('Jobs')} onKeyDown={onKeyDown}>
      {rows.map(row =>
        row.kind === 'job' ? (
          <Row
            key={row.id}
            job={row.job}
            open={row.open}
            age={age(row.job.created_at)}
            isCurrent={row.id === current}
            onCurrent={onCurrent}
            onOpen={onOpen}
            onToggle={onToggle}
          />
        ) : (
          <Rest
            key={row.id}
            id={row.id}
            family={row.family}
            isCurrent={row.id === current}
            onCurrent={onCurrent}
            onClick={() => onRest(row.parent)}
          />
        )
      )}
    </ul>
  );
}

interface RowProps {
  readonly job: Job;
  /** Whether the children are shown; null where there are none. */
  readonly open: boolean | null;
  /** Given, so that a row is drawn anew only when its own words change. */
  readonly age: string;
  readonly isCurrent: boolean;
  readonly onCurrent: (id: string) => void;
  readonly onOpen: (id: string) => void;
  readonly onToggle: (id: string) => void;
}

const Row = React.memo(function Row(props: RowProps): React.ReactElement {
  const { job, open, age, isCurrent, onCurrent, onOpen, onToggle } = props;
  const trans = useTrans();
  const note = rowNote(job, trans);
  const parameters = job.parent_id ? parametersLabel(job) : '';
  return (
    <li
      className="jpx-Row jpx-JobRow"
      role="treeitem"
      aria-level={job.parent_id ? 2 : 1}
      aria-expanded={open ?? undefined}
      aria-selected={isCurrent}
      aria-label={rowLabel(job, trans)}
      tabIndex={isCurrent ? 0 : -1}
      data-row-id={job.id}
      data-state={job.state}
      onFocus={() => onCurrent(job.id)}
      onContextMenu={() => onCurrent(job.id)}
      onClick={() => onOpen(job.id)}
    >
      <span className="jpx-Row-line">
        {open !== null && (
          // By keyboard and for those who hear, the row itself opens.
          <span
            className="jpx-Row-twisty"
            aria-hidden="true"
            onClick={event => {
              event.stopPropagation();
              onToggle(job.id);
            }}
          />
        )}
        <span className="jpx-Row-name" title={job.name}>
          {job.name}
        </span>
        <span className="jpx-Row-age" title={moment(job.created_at)}>
          {age}
        </span>
      </span>
      <span className="jpx-Row-line">
        <StateChip state={job.state} reason={job.reason} />
        <ProgressBar job={job} />
        <span className="jpx-Row-step">{job.state !== 'succeeded' && progressLabel(job, trans)}</span>
        <span className="jpx-Row-extra">
          {[priorityLabel(job, trans), job.attempt > 1 ? trans.__('attempt %1', job.attempt) : '']
            .filter(Boolean)
            .join(' · ')}
        </span>
      </span>
      {parameters && (
        <span className="jpx-Row-note" title={parameters}>
          {parameters}
        </span>
      )}
      {note && (
        <span className="jpx-Row-note" title={note}>
          {note}
        </span>
      )}
    </li>
  );
});

interface RestProps {
  readonly id: string;
  readonly family: JobsState;
  readonly isCurrent: boolean;
  readonly onCurrent: (id: string) => void;
  readonly onClick: () => void;
}

/** What stands for the children of a sweep that are not loaded. */
function Rest({ id, family, isCurrent, onCurrent, onClick }: RestProps): React.ReactElement {
  const trans = useTrans();
  const { error, loading } = family;
  return (
    <li
      className="jpx-RestRow"
      role="treeitem"
      aria-level={2}
      aria-selected={isCurrent}
      tabIndex={isCurrent ? 0 : -1}
      data-row-id={id}
      onFocus={() => onCurrent(id)}
      onClick={onClick}
    >
      {loading
        ? trans.__('Loading jobs…')
        : error
          ? trans.__('Not loaded: %1 Try again', error.message)
          : trans.__('Load more jobs of the sweep')}
    </li>
  );
}

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
          className="jpx-Field jpx-Filter-name"
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
