import * as React from 'react';
import type { Delivery, Route } from '../../api/monitors';
import { Chip, Section, useTrans } from '../../common/components';
import { moment, whenLabel } from '../../common/format';
import { MONITOR_ICONS } from '../../icons';
import { deliveryLabel, deliveryNote, routeLabel } from '../format';

interface DeliveriesProps {
  readonly deliveries: readonly Delivery[];
  readonly routes: readonly Route[];
}

/** The log of the messages about alarms, newest first, and what became of them. */
export function Deliveries({ deliveries, routes }: DeliveriesProps): React.ReactElement {
  const trans = useTrans();
  const sends = routes.some(({ kind }) => kind !== 'jupyter');
  return (
    <Section title={trans.__('Messages')} count={deliveries.length}>
      {deliveries.length === 0 ? (
        <p className="jpx-Section-empty">
          {sends
            ? trans.__('Nothing was sent yet.')
            : routes.length
              ? trans.__('This monitor tells in JupyterLab only. To send messages, make one with another route.')
              : trans.__('This monitor tells nobody. To be told, make one with a route.')}
        </p>
      ) : (
        <ol className="jpx-Entries">
          {deliveries.map(delivery => (
            <li key={delivery.id}>
              <span className="jpx-Entries-head">
                <Chip
                  state={delivery.state}
                  icon={MONITOR_ICONS[delivery.state]}
                  label={deliveryLabel(delivery.state, trans)}
                />
                <time dateTime={delivery.created_at} title={moment(delivery.created_at)}>
                  {whenLabel(delivery.created_at)}
                </time>
              </span>
              <p>{deliveryNote(delivery, trans)}</p>
              <p>{routeLabel(delivery.route, trans)}</p>
              {delivery.error && <p className="jpx-Delivery-error">{delivery.error}</p>}
            </li>
          ))}
        </ol>
      )}
    </Section>
  );
}
