import { copyIcon, deleteIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import type { Monitor, Profile } from '../../api/monitors';
import { ErrorNotice, IconButton, Section, useModel, useTrans } from '../../common/components';
import { moment, number, whenLabel } from '../../common/format';
import { backIcon, pauseIcon, resumeIcon } from '../../icons';
import type { MonitorDetail } from '../detail';
import { watchedLabel } from '../format';
import { Alarms, MonitorChip } from './common';
import { Deliveries } from './deliveries';
import { Settings } from './settings';
import { TimelineView } from './timeline';
import { Windows } from './windows';

interface DetailProps {
  readonly model: MonitorDetail;
  readonly onBack: () => void;
  readonly onPause: () => void;
  readonly onResume: () => void;
  readonly onDelete: () => void;
  readonly onCopyCode: () => void;
}

/** One monitor with all that is known of it. Escape goes back. */
export function Detail(props: DetailProps): React.ReactElement {
  const { model, onBack, onPause, onResume, onDelete, onCopyCode } = props;
  const trans = useTrans();
  const state = useModel(model);
  const { monitor, error, active, past } = state;
  const heading = React.useRef<HTMLHeadingElement>(null);
  React.useEffect(() => heading.current?.focus(), [model]);
  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
      onBack();
    }
  };
  const paused = monitor?.enabled === false;
  return (
    <div className="jpx-Detail" onKeyDown={onKeyDown}>
      <div className="jpx-Detail-head">
        <IconButton icon={backIcon} label={trans.__('Back to the list of monitors')} onClick={onBack} />
        <h2 ref={heading} tabIndex={-1} title={monitor?.name}>
          {monitor?.name ?? trans.__('Monitor')}
        </h2>
        <IconButton
          icon={copyIcon}
          label={trans.__('Copy a line of Python that opens the monitor')}
          disabled={!monitor}
          onClick={onCopyCode}
        />
        <IconButton
          icon={paused ? resumeIcon : pauseIcon}
          label={paused ? trans.__('Resume the monitor') : trans.__('Pause the monitor')}
          disabled={!monitor}
          onClick={paused ? onResume : onPause}
        />
        <IconButton icon={deleteIcon} label={trans.__('Delete the monitor…')} disabled={!monitor} onClick={onDelete} />
      </div>
      <div className="jpx-Detail-scroll">
        {error && <ErrorNotice error={error} onRetry={() => void model.refresh()} />}
        {monitor && <Summary monitor={monitor} reference={state.reference} names={state.names} />}
        {!state.loaded && !error && <p className="jpx-List-empty">{trans.__('Loading the monitor…')}</p>}
        {monitor && state.loaded && (
          <>
            <Section title={trans.__('Alarms')} count={active.length} open>
              {active.length ? (
                <Alarms alarms={active} monitor={monitor} />
              ) : (
                <p className="jpx-Section-empty">{trans.__('No rule is broken.')}</p>
              )}
            </Section>
            <TimelineView model={model} state={state} checks={monitor.checks} />
            <Windows windows={state.windows} />
            <Section title={trans.__('Past alarms')} count={past.length}>
              {past.length ? (
                <Alarms alarms={past} monitor={monitor} />
              ) : (
                <p className="jpx-Section-empty">{trans.__('No alarm was resolved yet.')}</p>
              )}
            </Section>
            <Deliveries deliveries={state.deliveries} routes={monitor.routes} />
            <Settings monitor={monitor} />
          </>
        )}
      </div>
    </div>
  );
}

interface SummaryProps {
  readonly monitor: Monitor;
  readonly reference: Profile | null;
  readonly names: ReadonlyMap<string, string>;
}

function Summary({ monitor, reference, names }: SummaryProps): React.ReactElement {
  const trans = useTrans();
  const { id, description, evaluations, last_end } = monitor;
  return (
    <div className="jpx-Summary">
      <div className="jpx-Summary-state">
        <MonitorChip monitor={monitor} />
      </div>
      {description && <p>{description}</p>}
      <dl className="jpx-Facts">
        <dt>{trans.__('Watches')}</dt>
        <dd>{watchedLabel(monitor, names, trans)}</dd>
        {reference && (
          <>
            <dt>{trans.__('Compares with')}</dt>
            <dd title={moment(reference.created_at)}>
              {trans._n('profile %2 of %1 row', 'profile %2 of %1 rows', reference.n_rows, reference.name)}
            </dd>
          </>
        )}
        <dt>{trans.__('Last window')}</dt>
        <dd>{last_end ? trans.__('to %1', whenLabel(last_end)) : trans.__('none yet')}</dd>
        <dt>{trans.__('Judged')}</dt>
        <dd>{trans._n('%1 window', '%1 windows', evaluations, number(evaluations))}</dd>
        <dt>{trans.__('Id')}</dt>
        <dd className="jpx-Facts-id" title={id}>
          {id}
        </dd>
      </dl>
    </div>
  );
}
