import * as React from 'react';
import { useTrans } from '../../common/components';
import { edgeLabels, whenLabel } from '../../common/format';
import { valueLabel } from '../format';
import type { Point, Timeline } from '../timeline';

/** Pixels. Across, everything is in per cent, so that nothing is stretched whatever the width of the panel. */
const HEIGHT = 120;
const MARGIN = 8;

interface ChartProps {
  readonly timeline: Timeline;
  /** What the picture shows, in words. */
  readonly label: string;
  readonly titleOf: (point: Point) => string;
}

/** Measured values as a line with marks, and the threshold of each window; a breach has another mark. */
export function Chart({ timeline, label, titleOf }: ChartProps): React.ReactElement {
  const trans = useTrans();
  const { points, low, high } = timeline;
  const first = points[0];
  const last = points.at(-1);
  const x = (at: number): string => `${points.length === 1 ? 50 : 2 + (96 * at) / (points.length - 1)}%`;
  const y = (value: number): number => MARGIN + (1 - (value - low) / (high - low)) * (HEIGHT - 2 * MARGIN);
  return (
    <figure className="jpx-Chart">
      <div className="jpx-Chart-scale" aria-hidden="true">
        <span>{valueLabel(high, timeline)}</span>
        <span>{valueLabel(low, timeline)}</span>
      </div>
      <svg className="jpx-Chart-area" width="100%" height={HEIGHT} role="img" aria-label={label}>
        <Steps points={points} x={x} y={y} />
        {points.slice(1).map((point, at) => {
          const before = points[at]!;
          return before.value === null || point.value === null ? null : (
            <line
              key={point.id}
              className="jpx-Chart-line"
              x1={x(at)}
              y1={y(before.value)}
              x2={x(at + 1)}
              y2={y(point.value)}
            />
          );
        })}
        {points.map((point, at) =>
          point.value === null ? null : (
            <svg key={point.id} x={x(at)} y={y(point.value)} overflow="visible">
              {point.breached ? (
                <path className="jpx-Chart-breach" d="M0-5.5 5.5 0 0 5.5-5.5 0z" />
              ) : (
                <circle className="jpx-Chart-point" r={2.75} />
              )}
              <title>{titleOf(point)}</title>
            </svg>
          )
        )}
      </svg>
      <figcaption className="jpx-Chart-foot" aria-hidden="true">
        {first && last && last !== first ? (
          edgeLabels(first.end, last.end).map((edge, at) => <span key={at}>{edge}</span>)
        ) : (
          <span>{first && whenLabel(first.end)}</span>
        )}
      </figcaption>
      <figcaption className="jpx-Chart-legend" aria-hidden="true">
        <Key label={trans.__('measured')}>
          <circle className="jpx-Chart-point" cx={7} cy={6} r={2.75} />
        </Key>
        <Key label={trans.__('breach')}>
          <path className="jpx-Chart-breach" d="M7 .5 12.5 6 7 11.5 1.5 6z" />
        </Key>
        <Key label={trans.__('threshold')}>
          <line className="jpx-Chart-threshold" x1={0} y1={6} x2={14} y2={6} />
        </Key>
      </figcaption>
    </figure>
  );
}

interface StepsProps {
  readonly points: readonly Point[];
  readonly x: (at: number) => string;
  readonly y: (value: number) => number;
}

/** The threshold, which may be another one in each window: a step for each, half way to its neighbours. */
function Steps({ points, x, y }: StepsProps): React.ReactElement {
  const last = points.length - 1;
  return (
    <g className="jpx-Chart-threshold">
      {points.map(({ id, threshold }, at) => {
        const from = at === 0 ? '0%' : x(at - 0.5);
        const to = at === last ? '100%' : x(at + 0.5);
        const next = points[at + 1];
        return (
          <React.Fragment key={id}>
            <line x1={from} y1={y(threshold)} x2={to} y2={y(threshold)} />
            {next && <line x1={to} y1={y(threshold)} x2={to} y2={y(next.threshold)} />}
          </React.Fragment>
        );
      })}
    </g>
  );
}

function Key({ label, children }: { label: string; children: React.ReactNode }): React.ReactElement {
  return (
    <span>
      <svg width={14} height={12}>
        {children}
      </svg>
      {label}
    </span>
  );
}
