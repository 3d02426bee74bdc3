import { refreshIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { Monitor } from '../../api/monitors';
import { ErrorNotice, IconButton, useModel, useTick, useTrans } from '../../common/components';
import { age, whenLabel } from '../../common/format';
import { focusRow, placeAfter, rowIdOf, useListFocus } from '../../common/rows';
import { alarmsLabel, rowLabel, watchedLabel } from '../format';
import type { MonitorsModel, MonitorsState } from '../model';
import { MonitorChip } from './common';

const AGE_TICK_MS = 15_000;
/** For a notebook, so in no language. */
const FIRST_MONITOR = `from jupyter_ext import connect
from jupyter_ext.monitoring import Profile

workspace = connect()
profile = workspace.monitors.save_profile("training", Profile.of(frame))
monitor = workspace.monitors.create("daily", profile=profile)
monitor.check(new_rows)`;

interface MonitorListProps {
  readonly model: MonitorsModel;
  /** The row that holds the focus, or did; null for the first one. */
  readonly current: string | null;
  readonly onCurrent: (id: string) => void;
  readonly onOpen: (id: string) => void;
  readonly onDelete: (id: string) => void;
  /** Whether to take the focus when first drawn: the user came back from a monitor. */
  readonly takeFocus: boolean;
}

/** The monitors, those that fire first, with a search and the count of alarms above. */
export function MonitorList(props: MonitorListProps): React.ReactElement {
  const { model } = props;
  const trans = useTrans();
  const state = useModel(model);
  const { monitors, error, loading, search } = state;
  const root = React.useRef<HTMLDivElement>(null);
  useListFocus(root, props.takeFocus);
  useTick(AGE_TICK_MS);
  const unusable = error && (error.extensionMissing || !monitors.length);
  return (
    <div ref={root} className="jpx-List">
      {!error?.extensionMissing && <Head model={model} state={state} />}
      {error && <ErrorNotice error={error} onRetry={() => void model.refresh()} />}
      {!unusable && (
        <div className="jpx-List-scroll">
          {monitors.length > 0 ? (
            <Rows {...props} monitors={monitors} names={state.names} />
          ) : loading ? (
            <p className="jpx-List-empty">{trans.__('Loading monitors…')}</p>
          ) : search ? (
            <p className="jpx-List-empty">{trans.__('No monitor matches.')}</p>
          ) : (
            <First />
          )}
          {state.more && <p className="jpx-List-empty">{trans.__('Older monitors are not shown.')}</p>}
        </div>
      )}
    </div>
  );
}

/** How to make a first monitor. */
function First(): React.ReactElement {
  const trans = useTrans();
  return (
    <div className="jpx-List-empty">
      <p>{trans.__('No monitors yet. Make one in a notebook, with a frame of rows that are as they should be:')}</p>
      <pre className="jpx-Source" tabIndex={0} aria-label={trans.__('Code that makes a first monitor')}>
        {FIRST_MONITOR}
      </pre>
      <p>{trans.__('It learns from them what to expect, and appears here.')}</p>
    </div>
  );
}

function Head({ model, state }: { model: MonitorsModel; state: MonitorsState }): React.ReactElement {
  const trans = useTrans();
  const { firing, pending, search, loading, monitors } = state;
  const alarms = alarmsLabel(firing, pending, trans);
  return (
    <div className="jpx-Filter" role="search" aria-label={trans.__('Filter monitors')}>
      <div className="jpx-Filter-line">
        <input
          type="search"
          className="jpx-Field jpx-Filter-name"
          placeholder={trans.__('Search by name')}
          aria-label={trans.__('Search monitors by name')}
          value={search}
          onChange={event => model.search(event.target.value)}
        />
        <IconButton icon={refreshIcon} label={trans.__('Refresh monitors')} onClick={() => void model.refresh()} />
      </div>
      {(alarms || (monitors.length > 0 && !loading)) && (
        <p className="jpx-AlarmCount" data-firing={firing > 0}>
          {alarms ? trans.__('Alarms: %1', alarms) : trans.__('No alarms')}
        </p>
      )}
    </div>
  );
}

interface RowsProps extends MonitorListProps {
  readonly monitors: readonly Monitor[];
  readonly names: ReadonlyMap<string, string>;
}

/** Monitors as a list with one tab stop. The keys are those of the jobs. */
function Rows(props: RowsProps): React.ReactElement {
  const { monitors, names, onCurrent, onOpen, onDelete } = props;
  const trans = useTrans();
  const list = React.useRef<HTMLUListElement>(null);
  // Whoever deletes the current row goes on with the one that takes its place.
  const place = React.useRef(0);
  const at = monitors.findIndex(({ id }) => id === props.current);
  place.current = at >= 0 ? at : Math.min(place.current, monitors.length - 1);
  const current = monitors[place.current]?.id;

  const onKeyDown = (event: React.KeyboardEvent): void => {
    const at = monitors.findIndex(({ id }) => id === rowIdOf(event));
    const monitor = monitors[at];
    if (event.altKey || event.ctrlKey || event.metaKey || !monitor) {
      return;
    }
    const to = placeAfter(event.key, at, monitors.length);
    if (to !== undefined) {
      focusRow(list.current, monitors[to]?.id);
    } else if (event.key === 'Enter' || event.key === ' ') {
      onOpen(monitor.id);
    } else if (event.key === 'Delete') {
      onDelete(monitor.id);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <ul ref={list} className="jpx-List-rows" role="listbox" aria-label={trans.__('Monitors')} onKeyDown={onKeyDown}>
      {monitors.map(monitor => (
        <Row
          key={monitor.id}
          monitor={monitor}
          watched={watchedLabel(monitor, names, trans)}
          label={rowLabel(monitor, names, trans)}
          age={monitor.last_end ? age(monitor.last_end) : ''}
          isCurrent={monitor.id === current}
          onCurrent={onCurrent}
          onOpen={onOpen}
        />
      ))}
    </ul>
  );
}

interface RowProps {
  readonly monitor: Monitor;
  readonly watched: string;
  readonly label: string;
  /** How long ago the last window ended; given, so that a row is drawn anew only when its own words change. */
  readonly age: string;
  readonly isCurrent: boolean;
  readonly onCurrent: (id: string) => void;
  readonly onOpen: (id: string) => void;
}

const Row = React.memo(function Row(props: RowProps): React.ReactElement {
  const { monitor, watched, label, age, isCurrent, onCurrent, onOpen } = props;
  const trans = useTrans();
  const { id, name, last_end } = monitor;
  return (
    <li
      className="jpx-Row jpx-MonitorRow"
      role="option"
      aria-selected={isCurrent}
      aria-label={label}
      tabIndex={isCurrent ? 0 : -1}
      data-row-id={id}
      onFocus={() => onCurrent(id)}
      onContextMenu={() => onCurrent(id)}
      onClick={() => onOpen(id)}
    >
      <span className="jpx-Row-line">
        <span className="jpx-Row-name" title={name}>
          {name}
        </span>
        {last_end && (
          <span className="jpx-Row-age" title={trans.__('The last window ended %1', whenLabel(last_end))}>
            {age}
          </span>
        )}
      </span>
      <span className="jpx-Row-line">
        <MonitorChip monitor={monitor} />
        <span className="jpx-Row-extra jpx-MonitorRow-watched" title={trans.__('Watches %1', watched)}>
          {watched}
        </span>
      </span>
    </li>
  );
});
