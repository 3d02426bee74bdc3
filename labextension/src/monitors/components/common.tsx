import * as React from 'react';
import { type Alarm, type Monitor, stateOf } from '../../api/monitors';
import { Chip, useTrans } from '../../common/components';
import { MONITOR_ICONS } from '../../icons';
import { alarmSpan, ruleLabel, stateLabel } from '../format';

/** The state of a monitor. */
export function MonitorChip({ monitor }: { monitor: Monitor }): React.ReactElement {
  const state = stateOf(monitor);
  return <Chip state={state} icon={MONITOR_ICONS[state]} label={stateLabel(monitor, useTrans())} />;
}

/** Alarms, each with its sentence, since when it is and in how many windows. */
export function Alarms({ alarms, monitor }: { alarms: readonly Alarm[]; monitor: Monitor }): React.ReactElement {
  const trans = useTrans();
  return (
    <ul className="jpx-Entries">
      {alarms.map(alarm => (
        <li key={alarm.id} className="jpx-Alarm" data-state={alarm.state}>
          <span className="jpx-Entries-head">
            <Chip
              state={alarm.state}
              icon={MONITOR_ICONS[alarm.state]}
              label={trans.__('%1: %2', alarm.check, ruleLabel(alarm, trans))}
            />
          </span>
          <p className="jpx-Alarm-message">{alarm.message}</p>
          <p>{alarmSpan(alarm, monitor, trans)}</p>
        </li>
      ))}
    </ul>
  );
}
