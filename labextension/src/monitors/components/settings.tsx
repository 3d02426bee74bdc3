import * as React from 'react';
import type { Monitor } from '../../api/monitors';
import { Section, useTrans } from '../../common/components';
import { moment } from '../../common/format';
import { routeLabel } from '../format';
import { checkSentences, monitorSentences } from '../settings';

/** What a monitor checks, when its alarms fire and whom it tells, in words. */
export function Settings({ monitor }: { monitor: Monitor }): React.ReactElement {
  const trans = useTrans();
  return (
    <Section title={trans.__('Checks and settings')}>
      <dl className="jpx-Settings">
        {monitor.checks.map(check => (
          <React.Fragment key={check.name}>
            <dt>{check.name === check.kind ? check.name : trans.__('%1 (%2)', check.name, check.kind)}</dt>
            {checkSentences(check, trans).map(sentence => (
              <dd key={sentence}>{sentence}</dd>
            ))}
          </React.Fragment>
        ))}
        <dt>{trans.__('Windows and alarms')}</dt>
        {monitorSentences(monitor, trans).map(sentence => (
          <dd key={sentence}>{sentence}</dd>
        ))}
        <dt>{trans.__('Tells')}</dt>
        {monitor.routes.length === 0 && <dd>{trans.__('Nobody.')}</dd>}
        {monitor.routes.map((route, at) => (
          <dd key={at}>{routeLabel(route, trans)}</dd>
        ))}
        <dt>{trans.__('Made')}</dt>
        <dd>{moment(monitor.created_at)}</dd>
      </dl>
    </Section>
  );
}
