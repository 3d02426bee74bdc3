import * as React from 'react';
import type { Check, Rule } from '../../api/monitors';
import { Section, useTrans } from '../../common/components';
import { dayLabel } from '../../common/format';
import { type DetailState, type MonitorDetail, TIMELINE } from '../detail';
import {
  findRule,
  measuredLabel,
  pointLabel,
  ruleLabel,
  timelineLabel,
  unitLabel,
  valueLabel,
  windowLabel
} from '../format';
import { ruleKey } from '../order';
import { type Timeline, timelineOf } from '../timeline';
import { Chart } from './chart';

/** So many rules are offered: a longer menu would help nobody. */
const MOST_RULES = 300;

interface TimelineProps {
  readonly model: MonitorDetail;
  readonly state: DetailState;
  readonly checks: readonly Check[];
}

/** What was measured of one feature, window by window, against its threshold: as a picture or as a table. */
export function TimelineView({ model, state, checks }: TimelineProps): React.ReactElement {
  const { rules, rule, measured } = state;
  const trans = useTrans();
  const [asTable, setAsTable] = React.useState(false);
  const check = checks.find(({ name }) => name === rule?.check);
  const timeline = React.useMemo(() => timelineOf(measured ?? [], check), [measured, check]);
  return (
    <Section title={trans.__('Timeline')} open>
      {!rule ? (
        <p className="jpx-Section-empty">{trans.__('Nothing was measured yet.')}</p>
      ) : (
        <div className="jpx-TimelineView">
          <div className="jpx-TimelineView-bar">
            <RuleMenu rules={rules} rule={rule} onSelect={chosen => void model.select(chosen)} />
            <button
              type="button"
              className="jpx-Button"
              aria-pressed={asTable}
              onClick={() => setAsTable(shown => !shown)}
            >
              {trans.__('Table')}
            </button>
          </div>
          {rules.length > MOST_RULES && (
            <p>{trans.__('%1 of %2 are offered; the rest in Python: monitor.history()', MOST_RULES, rules.length)}</p>
          )}
          {!measured && <p>{trans.__('Loading what was measured…')}</p>}
          {measured && !timeline.points.length && (
            <p>{trans.__('It was not measured in the last %1 windows.', TIMELINE)}</p>
          )}
          {timeline.points.length > 0 && (
            <>
              <p>{unitLabel(timeline, check, trans)}</p>
              {asTable ? (
                <PointTable timeline={timeline} rule={rule} />
              ) : (
                <Chart
                  timeline={timeline}
                  label={timelineLabel(timeline, rule, trans)}
                  titleOf={point => pointLabel(point, timeline, trans)}
                />
              )}
            </>
          )}
        </div>
      )}
    </Section>
  );
}

interface RuleMenuProps {
  readonly rules: readonly Rule[];
  readonly rule: Rule;
  readonly onSelect: (rule: Rule) => void;
}

/** A choice of what to look at, by check. */
function RuleMenu({ rules, rule, onSelect }: RuleMenuProps): React.ReactElement {
  const trans = useTrans();
  const offered = rules.slice(0, MOST_RULES);
  const checks = [...new Set(offered.map(({ check }) => check))];
  return (
    <select
      className="jpx-Field jpx-TimelineView-rule"
      aria-label={trans.__('What to show')}
      value={ruleKey(rule)}
      onChange={event => {
        const chosen = findRule(offered, event.target.value);
        if (chosen) {
          onSelect(chosen);
        }
      }}
    >
      {checks.map(check => (
        <optgroup key={check} label={check}>
          {offered
            .filter(one => one.check === check)
            .map(one => (
              <option key={ruleKey(one)} value={ruleKey(one)}>
                {ruleLabel(one, trans)}
              </option>
            ))}
        </optgroup>
      ))}
    </select>
  );
}

/** The same as the picture, newest first. */
function PointTable({ timeline, rule }: { timeline: Timeline; rule: Rule }): React.ReactElement {
  const trans = useTrans();
  return (
    <div className="jpx-TimelineView-table" tabIndex={0} role="region" aria-label={ruleLabel(rule, trans)}>
      <table className="jpx-Table">
        <thead>
          <tr>
            <th scope="col">{trans.__('Window to')}</th>
            <th scope="col">{trans.__('Measured')}</th>
            <th scope="col">{trans.__('Threshold')}</th>
          </tr>
        </thead>
        <tbody>
          {[...timeline.points].reverse().map(point => (
            <tr key={point.id}>
              <td title={windowLabel(point)}>{dayLabel(point.end)}</td>
              <td>{measuredLabel(point, timeline, trans)}</td>
              <td>{valueLabel(point.threshold, timeline)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
